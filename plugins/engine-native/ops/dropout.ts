import { fused, GraftError, rngKey, type FusedOps } from 'graft';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { recipeOf, registerRecipe } from '../recipes.ts';

/** `dropout` of core/tensor/ops: the same mask, drawn again for the backward. */
export function nativeDropout(backend: NativeBackend): FusedOps['dropout'] {
  return <T extends Tensor>(x: T, rate: number, { seed, step, path }: Parameters<FusedOps['dropout']>[2]): T => {
    if (!(rate >= 0 && rate < 1)) throw new GraftError('DROPOUT_RATE', `A dropout rate must be at least 0 and below 1, not ${rate}.`);
    if (rate === 0) return x.clone() as T;
    const { low, high } = rngKey(seed, 'dropout', step, path);
    const masked = (from: Tensor): T => {
      const y = backend.tensor<T>(x.shape);
      backend.native.run('dropout', [backend.id(from), x.size, low, high, Math.round(rate * 2 ** 32), 1 / (1 - rate), backend.id(y)]);
      return y;
    };
    return fused<'x', T>({
      inputs: { x },
      forward: () => {
        const value = masked(x);
        const { inputs, make } = recipeOf(x);
        registerRecipe(value, { inputs, make: (saved) => masked(make(saved)) });
        return { value, saved: [] };
      },
      backward: (dy) => ({ x: masked(dy) }),
    });
  };
}
