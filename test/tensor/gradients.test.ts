import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import { distance, expectFiniteDifferences, variable } from '../support/gradients.ts';
import { testEngine } from '../support/engine.ts';

beforeAll(async () => {
  await testEngine();
});
afterEach(() => tf.disposeVariables());

describe('gradients that tfjs leaves out', () => {
  it('topk', () => {
    const x = variable([4, 7], 'x');
    expectFiniteDifferences(() => tf.mul(tf.topk(x, 3).values, 2), [x], { step: 1e-3 });
  });

  it('gatherND, an element taken twice', () => {
    const x = variable([3, 4], 'x');
    const indices = tf.tensor2d([0, 1, 2, 3, 0, 1], [3, 2], 'int32');
    expectFiniteDifferences(() => tf.tanh(tf.gatherND(x, indices)), [x]);
  });

  it('scatterND, two updates in one place', () => {
    const updates = variable([3, 2], 'u');
    const indices = tf.tensor2d([1, 3, 1], [3, 1], 'int32');
    expectFiniteDifferences(() => tf.tanh(tf.scatterND(indices, updates, [5, 2])), [updates]);
  });

  it.each(['ab,bc->ac', 'abc,bc->ab', 'ab,b->a', 'ab,ab->', 'ab->', 'a,b->ab', 'abc,abd->cd', 'ab->b'])('einsum %s', (equation) => {
    const size: Readonly<Record<string, number>> = { a: 2, b: 3, c: 4, d: 2 };
    const operands = equation.split('->')[0]!.split(',').map((indices, i) => variable([...indices].map((index) => size[index]!), `e${i}`));
    expectFiniteDifferences(() => tf.tanh(tf.mul(tf.einsum(equation, ...operands), 0.3)), operands);
  });

  it.each([[0, false, false], [1, true, false], [1, false, true], [2, true, true]])('cumsum along axis %i, exclusive %s, reverse %s', (axis, exclusive, reverse) => {
    const x = variable([2, 3, 4], 'x');
    expectFiniteDifferences(() => tf.tanh(tf.cumsum(x, axis, exclusive, reverse)), [x]);
  });
});

it('measures distances as the largest difference, and NaN as no agreement', () => {
  expect(distance(tf.tensor1d([1, 2, 3]), tf.tensor1d([1, 2.5, 2.9]))).toBeCloseTo(0.5);
  expect(distance(tf.tensor1d([NaN]), tf.tensor1d([1]))).toBeNaN();
});
