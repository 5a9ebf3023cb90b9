/** The fused operations written as their formulas say, with no regard for speed or memory: gradients are tfjs's own. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import type { AttentionShape, LowRankTerm } from '../../core/index.ts';

export function linear(x: Tensor2D, weight: Tensor2D, bias?: Tensor1D, terms: readonly LowRankTerm[] = []): Tensor2D {
  let y: Tensor = tf.matMul(x, weight, false, true);
  if (bias !== undefined) y = y.add(bias);
  for (const { input, a, b, scale } of terms) y = y.add(tf.matMul(tf.matMul(input ?? x, a, false, true), b, false, true).mul(scale));
  return y as Tensor2D;
}

export function embedding(weight: Tensor2D, ids: Int32Array): Tensor2D {
  return tf.matMul(tf.cast(tf.oneHot(tf.tensor1d(ids, 'int32'), weight.shape[0]), 'float32') as Tensor2D, weight);
}

export function rmsNorm(x: Tensor2D, weight: Tensor1D, eps: number): Tensor2D {
  return tf.mul(tf.div(x, tf.sqrt(tf.add(tf.mean(tf.square(x), 1, true), eps))), weight);
}

export function rope(x: Tensor3D, cos: Tensor2D, sin: Tensor2D): Tensor3D {
  const [tokens, , size] = x.shape;
  const spread = (t: Tensor2D) => tf.reshape(tf.concat([t, t], 1), [tokens, 1, size]);
  const [first, second] = tf.split(x, 2, 2) as [Tensor3D, Tensor3D];
  return tf.add(tf.mul(x, spread(cos)), tf.mul(tf.concat([tf.neg(second), first], 2), spread(sin)));
}

export function attention(q: Tensor3D, k: Tensor3D, v: Tensor3D, { queryOffsets, keyOffsets, scale, window = Infinity }: AttentionShape): Tensor3D {
  const [, heads] = q.shape;
  const perGroup = heads / k.shape[1];
  const outputs: Tensor[] = [];
  for (let s = 0; s + 1 < queryOffsets.length; s++) {
    const [q0, q1, k0, k1] = [queryOffsets[s]!, queryOffsets[s + 1]!, keyOffsets[s]!, keyOffsets[s + 1]!];
    for (let row = q0; row < q1; row++) {
      const last = k1 - (q1 - row);
      const first = Math.max(k0, last - window + 1);
      const ofHeads = Array.from({ length: heads }, (_, head) => {
        const group = Math.floor(head / perGroup);
        const query = tf.reshape(tf.slice(q, [row, head, 0], [1, 1, -1]), [1, -1]);
        const keys = tf.reshape(tf.slice(k, [first, group, 0], [last - first + 1, 1, -1]), [last - first + 1, -1]);
        const values = tf.reshape(tf.slice(v, [first, group, 0], [last - first + 1, 1, -1]), [last - first + 1, -1]);
        const scores = tf.sum(tf.mul(query, keys), 1).mul(scale);
        return tf.sum(tf.mul(tf.reshape(tf.softmax(scores), [-1, 1]), values), 0);
      });
      outputs.push(tf.stack(ofHeads));
    }
  }
  return tf.stack(outputs) as Tensor3D;
}

export function swiglu(gate: Tensor2D, up: Tensor2D): Tensor2D {
  return tf.mul(tf.div(gate, tf.add(1, tf.exp(tf.neg(gate)))), up);
}

export function crossEntropy(hidden: Tensor2D, weight: Tensor2D, targets: Int32Array): Tensor1D {
  const present = Float32Array.from(targets, (target) => (target >= 0 ? 1 : 0));
  const classes = Int32Array.from(targets, (target) => Math.max(0, target));
  const logits = tf.matMul(hidden, weight, false, true);
  const oneHot = tf.cast(tf.oneHot(tf.tensor1d(classes, 'int32'), weight.shape[0]), 'float32');
  return tf.mul(tf.neg(tf.sum(tf.mul(tf.logSoftmax(logits), oneHot), 1)), tf.tensor1d(present));
}

/**
 * Losses `[R]` of `hidden W^T`, and the gradient `[R, d]` of their sum with respect to hidden, computed in float64:
 * hidden `[R, d]`, W `[V, d]`, both row-major, a target for every row.
 */
export function crossEntropyInFloat64(hidden: Float32Array, weight: Float32Array, targets: Int32Array, d: number): { losses: number[]; gradient: number[] } {
  const vocabulary = weight.length / d;
  const losses: number[] = [];
  const gradient: number[] = [];
  targets.forEach((target, row) => {
    const logits = Array.from({ length: vocabulary }, (_, v) => {
      let sum = 0;
      for (let i = 0; i < d; i++) sum += hidden[row * d + i]! * weight[v * d + i]!;
      return sum;
    });
    const largest = logits.reduce((a, b) => Math.max(a, b));
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
    losses.push(largest + Math.log(total) - logits[target]!);
    for (let i = 0; i < d; i++) {
      gradient.push(logits.reduce((sum, logit, v) => sum + (Math.exp(logit - largest) / total) * weight[v * d + i]!, 0) - weight[target * d + i]!);
    }
  });
  return { losses, gradient };
}
