import * as tf from '@tensorflow/tfjs';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import { fused } from '../fused.ts';

/**
 * `y = silu(gate) up` with `silu(g) = g s`, `s = sigmoid(g)`: all `[T, m]` (Shazeer 2020).
 * Backward: `dup = dy g s`, `dgate = dy up s (1 + g (1 - s))`. The sigmoid is computed again, not kept.
 */
export function swiglu(gate: Tensor2D, up: Tensor2D): Tensor2D {
  return fused<'gate' | 'up', Tensor2D>({
    inputs: { gate, up },
    forward: () => ({ value: tf.mul(tf.mul(gate, tf.sigmoid(gate)), up), saved: [gate, up] }),
    backward: (dy, saved, wants) => {
      const [g, u] = saved as [Tensor2D, Tensor2D];
      const s = tf.sigmoid(g);
      const silu = tf.mul(g, s);
      return {
        up: wants('up') ? tf.mul(dy, silu) : undefined,
        gate: wants('gate') ? tf.mul(tf.mul(dy, u), tf.add(s, tf.mul(silu, tf.sub(1, s)))) : undefined,
      };
    },
  });
}
