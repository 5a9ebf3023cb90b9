import { fused, type FusedOps } from 'graft';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { registerRecipe } from '../recipes.ts';

/** `rmsNorm` of core/tensor/ops; its result is made again from x and the weight, rather than kept, where a linear layer needs it. */
export function nativeRmsNorm(backend: NativeBackend): FusedOps['rmsNorm'] {
  const { native } = backend;
  return (x, weight, eps) => {
    const [rows, size] = x.shape;
    const normed = (from: Tensor, w: Tensor, r?: Tensor): Tensor2D => {
      const y = backend.tensor<Tensor2D>([rows, size]);
      native.run('rmsNorm', [backend.id(from), backend.id(w), rows, size, eps, backend.id(y), r === undefined ? -1 : backend.id(r)]);
      return y;
    };
    return fused<'x' | 'weight', Tensor2D>({
      inputs: { x, weight },
      forward: () => {
        const r = backend.tensor<Tensor1D>([rows]);
        const value = normed(x, weight, r);
        registerRecipe(value, { inputs: [x, weight], make: ([from, w]) => normed(from!, w!) });
        return { value, saved: [x, weight, r] };
      },
      backward: (dy, saved, wants) => {
        const dx = wants('x') ? backend.tensor<Tensor2D>([rows, size]) : undefined;
        const dw = wants('weight') ? backend.tensor<Tensor1D>([size]) : undefined;
        native.run('rmsNormBackward', [backend.id(dy), ...saved.map((tensor) => backend.id(tensor)), rows, size, ...[dx, dw].map((made) => (made === undefined ? -1 : backend.id(made)))]);
        return { x: dx, weight: dw };
      },
    });
  };
}
