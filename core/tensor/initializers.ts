/** Values that trainable tensors start from, drawn from a seeded stream so that a run can be repeated. */
import * as tf from '@tensorflow/tfjs';
import type { Variable } from '@tensorflow/tfjs-core';
import type { Rng } from './rng.ts';

/** Draws one element. */
export type Initializer = (rng: Rng) => number;

export const zeros: Initializer = () => 0;
export const ones: Initializer = () => 1;

/** Normal with mean 0. */
export function normal(deviation: number): Initializer {
  return (rng) => rng.normal() * deviation;
}

/** Normal with mean 0, drawn again beyond `bound` deviations. */
export function truncatedNormal(deviation: number, bound = 2): Initializer {
  return (rng) => {
    for (;;) {
      const value = rng.normal();
      if (Math.abs(value) <= bound) return value * deviation;
    }
  };
}

/** Uniform in `[-bound, bound)`. */
export function uniform(bound: number): Initializer {
  return (rng) => (2 * rng.uniform() - 1) * bound;
}

/** PyTorch's `kaiming_uniform_(a=sqrt(5))`, the default of `nn.Linear`: uniform within 1 / sqrt(fanIn) (He et al. 2015). */
export function kaimingUniform(fanIn: number): Initializer {
  return uniform(1 / Math.sqrt(fanIn));
}

/** A trainable tensor of a shape; the caller disposes it. */
export function initialized(shape: readonly number[], initializer: Initializer, rng: Rng): Variable {
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  for (let i = 0; i < values.length; i++) values[i] = initializer(rng);
  return tf.tidy(() => tf.variable(tf.tensor(values, [...shape], 'float32'), true));
}
