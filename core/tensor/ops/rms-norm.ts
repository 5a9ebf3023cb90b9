import * as tf from '@tensorflow/tfjs';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { fused } from '../fused.ts';

/**
 * `y = x r w` with `r = 1 / sqrt(mean(x^2) + eps)` per row: x `[T, d]`, w `[d]` (Zhang and Sennrich 2019).
 * Backward, with `g = dy w`: `dx = r (g - x r^2 mean(g x))`, `dw = sum_t dy x r`.
 */
export function rmsNorm(x: Tensor2D, weight: Tensor1D, eps: number): Tensor2D {
  return fused<'x' | 'weight', Tensor2D>({
    inputs: { x, weight },

    forward: () => {
      const r = tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), eps));
      return { value: tf.mul(tf.mul(x, r), weight), saved: [x, weight, r] };
    },

    backward: (dy, saved, wants) => {
      const [kept, w, r] = saved as [Tensor2D, Tensor1D, Tensor2D];
      const normed = tf.mul(kept, r);
      const dw = wants('weight') ? tf.sum<Tensor1D>(tf.mul(dy, normed), 0) : undefined;
      if (!wants('x')) return { weight: dw };
      const g = tf.mul(dy, w);
      const along = tf.mean(tf.mul(g, normed), 1, true);
      return { weight: dw, x: tf.mul(r, tf.sub(g, tf.mul(normed, along))) };
    },
  });
}
