import { beforeAll, describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import type { Tensor1D, Tensor2D, Variable } from '@tensorflow/tfjs-core';
import { portableOps, valueAndGrads, type Engine, type FrozenWeight, type Weight, type WeightDtype } from '../../core/index.ts';
import { constant, expectSame, normals, variable } from '../../test/support/gradients.ts';
import { crossEntropyInFloat64 } from '../../test/support/naive-ops.ts';
import { startNative } from './engine.ts';

/** Of float32 sums of some thousand terms. */
const FLOAT32 = 2e-5;
/** Of one rounding to bfloat16. */
const BFLOAT16 = 2 ** -8;

describe('crossEntropy of engine native', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startNative();
  });

  const frozen = (values: Float32Array, shape: [number, number], dtype: WeightDtype): FrozenWeight =>
    engine.freeze({ name: 'output', shape, dtype: 'F32', bytes: () => new Uint8Array(values.buffer) }, dtype);

  /** Losses and the gradient of their sum with respect to hidden, ours and in float64, on the rows that have a target. */
  function compared(hidden: Variable & Tensor2D, weight: Weight, targets: Int32Array) {
    const size = hidden.shape[1];
    const rows = [...targets.keys()].filter((row) => targets[row]! >= 0);
    const { value, grads } = valueAndGrads(() => tf.sum(engine.ops.crossEntropy(hidden, weight, targets)), [hidden]);
    const losses = engine.ops.crossEntropy(hidden, weight, targets).dataSync<'float32'>();
    const gradient = grads[0]!.dataSync<'float32'>();
    const h = hidden.dataSync<'float32'>();
    const values = ('frozen' in weight ? weight.toTensor() : weight).dataSync<'float32'>();
    const exact = crossEntropyInFloat64(Float32Array.from(rows.flatMap((row) => [...h.subarray(row * size, (row + 1) * size)])), values, Int32Array.from(rows, (row) => targets[row]!), size);
    const ofRows = rows.flatMap((row) => [...gradient.subarray(row * size, (row + 1) * size)]);
    const untargeted = [...targets.keys()].filter((row) => targets[row]! < 0);
    return {
      loss: largestError(rows.map((row) => losses[row]!), exact.losses),
      gradient: largestError(ofRows, exact.gradient),
      sum: value.dataSync()[0]! / exact.losses.reduce((a, b) => a + b),
      untouched: untargeted.every((row) => losses[row] === 0 && gradient.subarray(row * size, (row + 1) * size).every((g) => g === 0)),
      exact,
    };
  }

  /** Relative to the largest of the exact numbers. */
  const largestError = (ours: readonly number[], exact: readonly number[]): number => {
    expect(ours.length).toBe(exact.length);
    return Math.max(...ours.map((x, i) => Math.abs(x - exact[i]!))) / Math.max(...exact.map(Math.abs));
  };

  /** Every third row without a target; the first and the last class among the targets. */
  const someTargets = (rows: number, vocabulary: number): Int32Array =>
    Int32Array.from({ length: rows }, (_, i) => (i % 3 === 1 ? -100 : i === 0 ? vocabulary - 1 : i === 2 ? 0 : (i * 9973) % vocabulary));

  // Rows beyond what is packed at once, classes beyond what is multiplied at once, sizes beyond the depth of one product: no multiples.
  it.each([[1, 7, 5], [1, 64, 4099], [3, 1, 2], [19, 33, 257], [790, 17, 2111], [40, 2077, 45]])('%i rows of %i on %i classes, frozen in float32', (rows, size, vocabulary) => {
    const values = normals([vocabulary, size], 'w', size ** -0.5);
    const ours = compared(variable<Tensor2D>([rows, size], 'h'), frozen(values, [vocabulary, size], 'f32'), someTargets(rows, vocabulary));
    expect(ours.loss).toBeLessThan(FLOAT32);
    expect(ours.gradient).toBeLessThan(FLOAT32);
    expect(Math.abs(ours.sum - 1)).toBeLessThan(FLOAT32);
    expect(ours.untouched).toBe(true);
  });

  it('a matrix that is no frozen weight and is not trained', () => {
    const ours = compared(variable<Tensor2D>([50, 24], 'h'), constant<Tensor2D>([3001, 24], 'w'), someTargets(50, 3001));
    expect(ours.loss).toBeLessThan(FLOAT32);
    expect(ours.gradient).toBeLessThan(FLOAT32);
  });

  it.each([['bf16', 60, 48, 3001], ['bf16', 9, 33, 77], ['f16', 9, 33, 77]] as const)('frozen in %s: %i rows of %i on %i classes', (dtype, rows, size, vocabulary) => {
    const ours = compared(variable<Tensor2D>([rows, size], 'h'), frozen(normals([vocabulary, size], 'w', size ** -0.5), [vocabulary, size], dtype), someTargets(rows, vocabulary));
    expect(ours.loss).toBeLessThan(BFLOAT16);
    expect(ours.gradient).toBeLessThan(BFLOAT16);
    expect(ours.untouched).toBe(true);
  });

  it('a weight that an embedding reads as well, and one that a product has packed', () => {
    for (const dtype of ['f32', 'bf16'] as const) {
      const weight = frozen(normals([517, 40], 'w'), [517, 40], dtype);
      const hidden = variable<Tensor2D>([21, 40], 'h', 0.2);
      const losses = () => [...engine.ops.crossEntropy(hidden, weight, someTargets(21, 517)).dataSync()];
      const before = losses();
      engine.ops.embedding(weight, Int32Array.from([5]));
      expect(losses()).toEqual(before);
      engine.ops.linear(hidden, weight);
      expect(losses()).toEqual(before);
      const ours = compared(hidden, weight, someTargets(21, 517));
      expect(ours.gradient).toBeLessThan(dtype === 'f32' ? FLOAT32 : BFLOAT16);
    }
  });

  // h = c W_t with few bits, so that rounding it to bfloat16 is none: what is left is what the operation itself loses.
  it.each(['f32', 'bf16'] as const)('keeps the loss and gradient of a learned token to their last digits, frozen in %s', (dtype) => {
    const [rows, size, vocabulary] = [6, 64, 2500];
    const signs = Float32Array.from(normals([vocabulary, size], 'signs'), (x) => Math.sign(x) / 8);
    const targets = Int32Array.from({ length: rows }, (_, i) => i * 400);
    const scales = [16, 18, 20, 22, 24, 28];
    for (const [row, target] of targets.entries()) {
      const hidden = tf.variable(tf.tensor2d(signs.slice(target * size, (target + 1) * size), [1, size]).mul(scales[row]!)) as Variable & Tensor2D;
      const ours = compared(hidden, frozen(signs, [vocabulary, size], dtype), Int32Array.from([target]));
      expect(ours.exact.losses[0]).toBeLessThan(0.05);
      expect(ours.loss, `loss ${ours.exact.losses[0]}`).toBeLessThan(FLOAT32);
      expect(ours.gradient, `loss ${ours.exact.losses[0]}`).toBeLessThan(dtype === 'f32' ? FLOAT32 : BFLOAT16);
    }
  });

  it('is exact for a token that is all but impossible', () => {
    const hidden = tf.variable(tf.tensor2d([[200, 0]])) as Variable & Tensor2D;
    const { value, grads } = valueAndGrads(() => tf.sum(engine.ops.crossEntropy(hidden, frozen(Float32Array.of(1, 0, -1, 0), [2, 2], 'f32'), Int32Array.from([1]))), [hidden]);
    expect(value.dataSync()[0]).toBe(400);
    expect([...grads[0]!.dataSync()]).toEqual([2, 0]);
  });

  it('is 0 with a gradient of 0 where there is no other class', () => {
    const hidden = variable<Tensor2D>([2, 3], 'h');
    const { value, grads } = valueAndGrads(() => tf.sum(engine.ops.crossEntropy(hidden, frozen(normals([1, 3], 'w'), [1, 3], 'f32'), Int32Array.from([0, 0]))), [hidden]);
    expect(value.dataSync()[0]).toBe(0);
    expect([...grads[0]!.dataSync()].map(Math.abs)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('is 0 with a gradient of 0 where no row has a target', () => {
    const hidden = variable<Tensor2D>([40, 9], 'h');
    const { value, grads } = valueAndGrads(() => tf.sum(engine.ops.crossEntropy(hidden, frozen(normals([70, 9], 'w'), [70, 9], 'bf16'), new Int32Array(40).fill(-100))), [hidden]);
    expect(value.dataSync()[0]).toBe(0);
    expect(grads[0]!.dataSync().every((g) => g === 0)).toBe(true);
  });

  it('tells of a hidden state that is no number, in its own row alone', () => {
    const values = normals([3, 5], 'h');
    values[7] = NaN;
    const losses = engine.ops.crossEntropy(tf.tensor2d(values, [3, 5]), frozen(normals([90, 5], 'w'), [90, 5], 'f32'), Int32Array.from([1, 2, 3])).dataSync();
    expect([...losses].map(Number.isNaN)).toEqual([false, true, false]);
  });

  it.each([[600, 12, 2111], [13, 70, 31]])('trained: %i rows of %i on %i classes', (rows, size, vocabulary) => {
    const [hidden, weight] = [variable<Tensor2D>([rows, size], 'h'), variable<Tensor2D>([vocabulary, size], 'w', 0.3)];
    const targets = someTargets(rows, vocabulary);
    const ours = (): Tensor1D => engine.ops.crossEntropy(hidden, weight, targets);
    expectSame(ours, () => portableOps.crossEntropy(hidden, weight, targets), [hidden, weight]);
  });
});
