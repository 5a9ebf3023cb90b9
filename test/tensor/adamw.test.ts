import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs-core';
import { AdamW, clipScale, globalNorm, type Trainable } from '../../core/index.ts';
import { testEngine } from '../support/engine.ts';

beforeAll(async () => {
  await testEngine();
});
afterEach(() => tf.disposeVariables());

/**
 * What PyTorch 2.13 computes: betas (0.8, 0.95), eps 1e-6, weight decay 0.1 on p and 0 on b, learning rate 0.01 times the
 * step, gradients sin(3 p + step) (four times that in the third step) and cos(b + step), clipped to norm 1.
 */
const TORCH = [
  { norm: 1.4567190408706665, p: [0.4895000159740448, -1.2587499618530273, 2.007999897003174, 0.08990004658699036, 0.0, -2.986999988555908], b: [0.9900000095367432, -1.9900000095367432] },
  { norm: 2.011765718460083, p: [0.4704362154006958, -1.261247992515564, 1.9966301918029785, 0.07050058245658875, -0.015515768900513649, -2.9612717628479004], b: [0.9864646196365356, -1.9917595386505127] },
  { norm: 7.954021453857422, p: [0.45331043004989624, -1.2450674772262573, 1.9691858291625977, 0.0408228263258934, -0.04232095181941986, -2.92358660697937], b: [0.988858163356781, -2.0001184940338135] },
  { norm: 1.6176217794418335, p: [0.45543479919433594, -1.2149968147277832, 1.9298070669174194, 0.009775830432772636, -0.07572443783283234, -2.8970227241516113], b: [1.0090078115463257, -2.0236456394195557] },
  { norm: 1.751712441444397, p: [0.4709482192993164, -1.1931226253509521, 1.89948570728302, 0.0034042270854115486, -0.08928826451301575, -2.892056703567505], b: [1.019289255142212, -2.032010555267334] },
];

function make(): { trainables: Trainable[]; optimizer: AdamW; step(): number } {
  const p = tf.variable(tf.tensor2d([0.5, -1.25, 2, 0.1, 0, -3], [2, 3]));
  const b = tf.variable(tf.tensor1d([1, -2]));
  const trainables: Trainable[] = [{ name: 'p', variable: p }, { name: 'b', variable: b, decay: false }];
  const optimizer = new AdamW(trainables, { beta1: 0.8, beta2: 0.95, eps: 1e-6, weightDecay: 0.1 });
  const step = (): number => {
    const t = optimizer.step;
    const gradients: Tensor[] = tf.tidy(() => [tf.mul(tf.sin(tf.add(tf.mul(p, 3), t)), t === 2 ? 4 : 1), tf.cos(tf.add(b, t))]);
    const norm = globalNorm(gradients);
    optimizer.apply(gradients, 0.01 * (t + 1), clipScale(norm, 1));
    tf.dispose(gradients);
    return norm;
  };
  return { trainables, optimizer, step };
}

const valuesOf = (trainables: readonly Trainable[]): number[][] => trainables.map(({ variable }) => [...variable.dataSync()]);

describe('AdamW', () => {
  it('takes the steps that PyTorch takes, clipping and decay flags included', () => {
    const { trainables, step } = make();
    for (const expected of TORCH) {
      expect(step()).toBeCloseTo(expected.norm, 5);
      [expected.p, expected.b].forEach((values, i) => {
        const ours = valuesOf(trainables)[i]!;
        values.forEach((value, j) => expect(Math.abs(ours[j]! - value)).toBeLessThan(1e-6));
      });
    }
  });

  it('goes on bit for bit from an exported state', () => {
    const whole = make();
    for (let i = 0; i < 5; i++) whole.step();

    const first = make();
    for (let i = 0; i < 3; i++) first.step();
    const state = first.optimizer.exportState();
    const second = make();
    first.trainables.forEach(({ variable }, i) => second.trainables[i]!.variable.assign(variable));
    second.optimizer.importState(state);
    for (let i = 0; i < 2; i++) second.step();
    expect(valuesOf(second.trainables)).toEqual(valuesOf(whole.trainables));
  });

  it('refuses a state of other trainables, naming what is missing', () => {
    const { optimizer } = make();
    const other = new AdamW([{ name: 'q', variable: tf.variable(tf.zeros([2])) }]);
    expect(() => other.importState(optimizer.exportState())).toThrow('The optimizer state has no q.exp_avg; [2] is needed.');
    const smaller = new AdamW([{ name: 'p', variable: tf.variable(tf.zeros([2])) }]);
    expect(() => smaller.importState(optimizer.exportState())).toThrow('The optimizer state has a [2, 3] p.exp_avg; [2] is needed.');
  });

  it('keeps apart trainables of one name, as two grafts of one kind have', () => {
    const twins = [1, 2].map((value) => ({ name: 'a', variable: tf.variable(tf.tensor1d([value])) }));
    const optimizer = new AdamW(twins);
    optimizer.apply([tf.tensor1d([1]), tf.tensor1d([-3])], 0.1);
    const { tensors } = optimizer.exportState();
    expect([...tensors.keys()]).toEqual(['0.a.exp_avg', '0.a.exp_avg_sq', '1.a.exp_avg', '1.a.exp_avg_sq']);
    expect(tensors.get('0.a.exp_avg')!.values[0]).toBeCloseTo(0.1);
    expect(tensors.get('1.a.exp_avg')!.values[0]).toBeCloseTo(-0.3);
  });

  it('leaves the tensor count as it was', () => {
    const { step } = make();
    step();
    const before = tf.memory().numTensors;
    for (let i = 0; i < 10; i++) step();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('clipping', () => {
  it('does nothing to a norm within the limit, and brings a greater one to it', () => {
    expect(clipScale(0.5, 1)).toBe(1);
    expect(clipScale(4, 1)).toBeCloseTo(0.25, 6);
    expect(clipScale(NaN, 1)).toBeNaN();
  });
});
