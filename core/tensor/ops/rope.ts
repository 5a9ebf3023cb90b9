import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import { fused } from '../fused.ts';

/** `[x1 cos - x2 sin, x2 cos + x1 sin]` on the halves of the last axis; the inverse turn where `sign` is -1. */
function turn(x: Tensor3D, cos: Tensor2D, sin: Tensor2D, sign: 1 | -1): Tensor3D {
  const [tokens, , size] = x.shape;
  const half = size / 2;
  const c = tf.reshape(cos, [tokens, 1, half]);
  const s = tf.mul(tf.reshape(sin, [tokens, 1, half]), sign);
  const [first, second] = tf.split(x, 2, 2) as [Tensor3D, Tensor3D];
  const turned: Tensor3D[] = [tf.sub(tf.mul(first, c), tf.mul(second, s)), tf.add(tf.mul(second, c), tf.mul(first, s))];
  return tf.concat(turned, 2);
}

/**
 * Rotary position embedding in Hugging Face's half-split layout: x `[T, H, D]`, cos and sin `[T, D/2]` -> `[T, H, D]`
 * (Su et al. 2021). Backward: the inverse rotation of dy; cos and sin are constants.
 */
export function rope(x: Tensor3D, cos: Tensor2D, sin: Tensor2D): Tensor3D {
  return fused<'x', Tensor3D>({
    inputs: { x },
    forward: () => ({ value: turn(x, cos, sin, 1), saved: [cos, sin] }),
    backward: (dy, saved) => {
      const [c, s] = saved as [Tensor2D, Tensor2D];
      return { x: turn(dy, c, s, -1) };
    },
  });
}
