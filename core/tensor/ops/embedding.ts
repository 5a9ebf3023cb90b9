import * as tf from '@tensorflow/tfjs';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { Weight } from '../../contracts/index.ts';
import { isFrozen, TensorWeight } from '../frozen.ts';
import { fused } from '../fused.ts';
import { addRows } from '../rows.ts';

/**
 * Rows of an embedding: weight `[V, d]`, ids `[T]` -> `[T, d]`.
 * Backward: `dW[v] = sum of dy[t] over the t with ids[t] = v`.
 */
export function embedding(weight: Weight, ids: Int32Array): Tensor2D {
  const [vocabulary] = weight.shape;
  const gather = (rows: Tensor2D) => tf.gather(rows, tf.tensor1d(ids, 'int32'));
  if (isFrozen(weight)) return tf.tidy(() => gather(weight instanceof TensorWeight ? weight.rows() : weight.toTensor()));

  return fused<'weight', Tensor2D>({
    inputs: { weight },
    forward: () => ({ value: gather(weight), saved: [] }),
    backward: (dy) => ({ weight: addRows(dy, ids, vocabulary) }),
  });
}
