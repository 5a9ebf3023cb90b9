import { expect } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import type { Scalar, Tensor, Variable } from '@tensorflow/tfjs-core';
import { rng, valueAndGrads } from '../../core/index.ts';

let variables = 0;

/** Seeded normal values. */
export function normals(shape: number[], name: string, scale = 1): Float32Array {
  const random = rng(7, name, ...shape);
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal() * scale);
}

/** A trainable tensor of seeded normal values. */
export function variable<T extends Tensor>(shape: number[], name: string, scale = 1): Variable & T {
  return tf.variable(tf.tensor(normals(shape, name, scale), shape), true, `test-${name}-${variables++}`) as Variable & T;
}

/** A constant of seeded normal values. */
export function constant<T extends Tensor>(shape: number[], name: string, scale = 1): T {
  return tf.tensor(normals(shape, name, scale), shape) as T;
}

/** The largest absolute difference. */
export function distance(a: Tensor, b: Tensor): number {
  expect(a.shape).toEqual(b.shape);
  const [x, y] = [a.dataSync(), b.dataSync()];
  let largest = 0;
  for (let i = 0; i < x.length; i++) {
    const difference = Math.abs(x[i]! - y[i]!);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

/** `sum(y * w)` with seeded weights w: a scalar whose gradient reaches every element differently. */
export function project(y: Tensor): Scalar {
  return tf.sum(tf.mul(y, constant(y.shape, 'projection')));
}

/** Asserts that two definitions agree in value and in the gradient of every variable. */
export function expectSame(ours: () => Tensor, naive: () => Tensor, wanted: readonly Variable[], tolerance = 2e-5): void {
  const a = valueAndGrads(() => project(ours()), wanted);
  const b = tf.variableGrads(() => project(naive()), [...wanted]);
  expect(distance(tf.tidy(ours), tf.tidy(naive)), 'value').toBeLessThan(tolerance);
  wanted.forEach((v, i) => {
    const theirs = b.grads[v.name] ?? tf.zerosLike(v);
    const size = Math.max(1, tf.max(tf.abs(theirs)).dataSync()[0]!);
    expect(distance(a.grads[i]!, theirs) / size, `gradient of ${v.name}`).toBeLessThan(tolerance);
  });
}

/** Asserts every gradient against central differences of the function itself, at up to `samples` elements each. */
export function expectFiniteDifferences(f: () => Tensor, wanted: readonly Variable[], { step = 1e-2, tolerance = 1e-2, samples = 12 } = {}): void {
  const loss = () => project(f());
  const { grads } = valueAndGrads(loss, wanted);
  wanted.forEach((v, index) => {
    const values = v.dataSync().slice() as Float32Array;
    const gradient = grads[index]!.dataSync();
    const stride = Math.max(1, Math.floor(values.length / samples));
    for (let i = 0; i < values.length; i += stride) {
      const at = (delta: number): number => {
        const moved = values.slice();
        moved[i]! += delta;
        tf.tidy(() => v.assign(tf.tensor(moved, v.shape)));
        return tf.tidy(loss).dataSync()[0]!;
      };
      const expected = (at(step) - at(-step)) / (2 * step);
      expect(Math.abs(gradient[i]! - expected) / Math.max(1, Math.abs(expected)), `${v.name}[${i}]: ${gradient[i]} against ${expected}`).toBeLessThan(tolerance);
    }
    tf.tidy(() => v.assign(tf.tensor(values, v.shape)));
  });
}
