import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { DropoutKey } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { fused } from '../fused.ts';
import { bitsAt, rngKey } from '../rng.ts';

/** 0 with probability `rate`, else `1 / (1 - rate)`; element i depends on the key and i alone. */
function mask(shape: number[], rate: number, { seed, step, path }: DropoutKey): Tensor {
  const key = rngKey(seed, 'dropout', step, path);
  const threshold = Math.round(rate * 2 ** 32);
  const kept = 1 / (1 - rate);
  const values = new Float32Array(tf.util.sizeFromShape(shape));
  for (let i = 0; i < values.length; i++) values[i] = bitsAt(key, i) < threshold ? 0 : kept;
  return tf.tensor(values, shape, 'float32');
}

/**
 * Zeroes elements with probability `rate` and scales the others by `1 / (1 - rate)` (Srivastava et al. 2014).
 * Backward: the same mask, drawn again from the key rather than kept.
 * @throws GraftError `DROPOUT_RATE` outside [0, 1)
 */
export function dropout<T extends Tensor>(x: T, rate: number, key: DropoutKey): T {
  if (!(rate >= 0 && rate < 1)) throw new GraftError('DROPOUT_RATE', `A dropout rate must be at least 0 and below 1, not ${rate}.`);
  if (rate === 0) return x.clone() as T;
  const masked = (t: Tensor) => tf.mul(t, mask(x.shape, rate, key)) as T;
  return fused<'x', T>({ inputs: { x }, forward: () => ({ value: masked(x), saved: [] }), backward: (dy) => ({ x: masked(dy) }) });
}
