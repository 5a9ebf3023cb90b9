/** Matrix products in the form that the backend at hand is fast at. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';

/**
 * `op(a) op(b)` with `op` the transpose where asked: `[m, k] [k, n]` -> `[m, n]`.
 * The wasm backend runs a product that is flagged as transposed 12 times slower than one of operands in place, so there
 * the operand is transposed first.
 */
export function product(a: Tensor2D, b: Tensor2D, transposeA = false, transposeB = false): Tensor2D {
  if (tf.getBackend() !== 'wasm') return tf.matMul(a, b, transposeA, transposeB);
  return tf.tidy(() => tf.matMul(transposeA ? tf.transpose(a) : a, transposeB ? tf.transpose(b) : b));
}

/** `product` for each of B pairs: `[B, m, k] [B, k, n]` -> `[B, m, n]`; the wasm backend is fast at single products only. */
export function batchedProduct(a: Tensor3D, b: Tensor3D, transposeA = false, transposeB = false): Tensor3D {
  if (tf.getBackend() !== 'wasm') return tf.matMul(a, b, transposeA, transposeB);
  return tf.tidy(() => {
    const left = tf.unstack(transposeA ? tf.transpose(a, [0, 2, 1]) : a) as Tensor2D[];
    const right = tf.unstack(transposeB ? tf.transpose(b, [0, 2, 1]) : b) as Tensor2D[];
    return tf.stack(left.map((matrix, i) => tf.matMul(matrix, right[i]!))) as Tensor3D;
  });
}

/** Terms summed in one float32 accumulator before it is added to the others. */
const LONGEST_SUM = 4096;

/** A right-hand side `[k, n]` cut along k, for `blockedProduct`: cut once, multiplied often. */
export function rowBlocks(b: Tensor2D): readonly Tensor2D[] {
  const [inner, columns] = b.shape;
  if (inner <= LONGEST_SUM) return [b];
  return Array.from({ length: Math.ceil(inner / LONGEST_SUM) }, (_, i) => {
    const start = i * LONGEST_SUM;
    return tf.slice(b, [start, 0], [Math.min(LONGEST_SUM, inner - start), columns]);
  });
}

/**
 * `a b` with a long inner dimension: a `[m, k]`, b as the `rowBlocks` of `[k, n]` -> `[m, n]`. Backends add the k terms one
 * after another in float32, and over a vocabulary of 131,072 the small terms are lost beside a large sum (an error of 1e-3
 * was seen), so blocks are summed apart.
 */
export function blockedProduct(a: Tensor2D, blocks: readonly Tensor2D[]): Tensor2D {
  const [only] = blocks;
  if (blocks.length === 1) return tf.matMul(a, only!);
  return tf.tidy(() => {
    let start = 0;
    return tf.addN(
      blocks.map((block) => {
        const part = tf.slice(a, [0, start], [a.shape[0], block.shape[0]]);
        start += block.shape[0];
        return tf.matMul(part, block) as Tensor2D;
      }),
    );
  });
}
