import { tf, AdamW, globalNorm, portableOptimizer, type Engine, type Trainable } from 'graft';
import type { Tensor } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { constant } from '../../test/support/gradients.ts';
import { startNative } from './engine.ts';

const OPTIONS = { beta1: 0.8, beta2: 0.95, eps: 1e-6, weightDecay: 0.1 };
/** Sizes that end within a vector, and that take several threads. */
const SHAPES = [[3, 5], [1], [60, 333], [17]] as const;

const gradientsOf = (step: number): Tensor[] => SHAPES.map((shape, i) => constant([...shape], `gradient ${step} ${i}`, 10 ** (i - 2)));
const valuesOf = (trainables: readonly Trainable[]): Float32Array[] => trainables.map(({ variable }) => variable.dataSync<'float32'>());

describe('the optimizer of engine native', () => {
  let engine: Engine;
  let prefix = 0;
  beforeAll(async () => {
    engine = await startNative();
  });
  afterEach(() => tf.disposeVariables());

  function make(optimizer = engine.optimizer!) {
    const trainables: Trainable[] = SHAPES.map((shape, i) => ({ name: `t${i}`, variable: tf.tidy(() => tf.variable(constant([...shape], `t${i}`), true, `own-${prefix++}`)), decay: i === 1 ? false : undefined }));
    const adamw = new AdamW(trainables, OPTIONS, optimizer);
    const step = (): void => tf.tidy(() => adamw.apply(gradientsOf(adamw.step), 0.01 * (adamw.step + 1), 0.37));
    return { trainables, adamw, step };
  }

  it('takes the steps of the portable one, bit for bit', () => {
    const [ours, theirs] = [make(), make(portableOptimizer)];
    for (let i = 0; i < 4; i++) {
      ours.step();
      theirs.step();
      expect(valuesOf(ours.trainables)).toEqual(valuesOf(theirs.trainables));
    }
    expect(ours.adamw.exportState()).toEqual(theirs.adamw.exportState());
    ours.adamw.dispose();
  });

  it('goes on from a state that the portable one exported', () => {
    const [first, second] = [make(portableOptimizer), make()];
    for (let i = 0; i < 2; i++) first.step();
    second.adamw.importState(first.adamw.exportState());
    first.trainables.forEach(({ variable }, i) => tf.tidy(() => second.trainables[i]!.variable.assign(tf.add(variable, 0))));
    first.step();
    second.step();
    expect(valuesOf(second.trainables)).toEqual(valuesOf(first.trainables));
    second.adamw.dispose();
  });

  it('leaves a clone of a variable its values', () => {
    const { trainables, adamw, step } = make();
    const before = valuesOf(trainables);
    const clones = trainables.map(({ variable }) => variable.clone());
    step();
    expect(clones.map((clone) => clone.dataSync())).toEqual(before);
    trainables.forEach(({ variable }, i) => expect(variable.dataSync()).not.toEqual(before[i]));
    adamw.dispose();
  });

  it('changes variables where they are, and frees its moments', async () => {
    const live = async (): Promise<number> => {
      await tf.time(() => undefined);
      return (tf.memory() as ReturnType<typeof tf.memory> & { arenaBytes: number }).arenaBytes;
    };
    const before = [await live(), tf.memory().numTensors] as const;
    const { trainables, adamw, step } = make();
    const dataIds = trainables.map(({ variable }) => variable.dataId);
    step();
    expect(trainables.map(({ variable }) => variable.dataId)).toEqual(dataIds);
    adamw.dispose();
    tf.disposeVariables();
    expect([await live(), tf.memory().numTensors]).toEqual(before);
  });

  it('has the 2-norm in double precision, whatever its size', async () => {
    const gradients = gradientsOf(0);
    expect(Math.abs((await engine.optimizer!.norm(gradients)) / globalNorm(gradients) - 1)).toBeLessThan(1e-13);
    expect(await portableOptimizer.norm(gradients)).toBe(globalNorm(gradients));
    expect(await engine.optimizer!.norm([tf.tensor1d([3e38, Infinity]), tf.scalar(0)])).toBe(Infinity);
    expect(await engine.optimizer!.norm([tf.tensor1d([3e30, 4e30])])).toBe(Math.hypot(Math.fround(3e30), Math.fround(4e30)));
    expect(await engine.optimizer!.norm([tf.tensor1d([1, NaN])])).toBeNaN();
    expect(await engine.optimizer!.norm([])).toBe(0);
    tf.dispose(gradients);
  });
});
