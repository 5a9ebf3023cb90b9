import * as tf from '@tensorflow/tfjs';
import type { Tensor2D } from '@tensorflow/tfjs-core';

/** Adds each row of x `[R, d]` to the row of `[count, d]` that `places` names; rows that nothing is added to are 0. */
export function addRows(x: Tensor2D, places: Int32Array, count: number): Tensor2D {
  return tf.scatterND(tf.tensor2d(places, [places.length, 1], 'int32'), x, [count, x.shape[1]]);
}
