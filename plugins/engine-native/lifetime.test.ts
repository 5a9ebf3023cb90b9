import { tf, valueAndGrads } from 'graft';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { rng } from '../../core/index.ts';
import { startNative } from './engine.ts';

beforeAll(async () => {
  await startNative();
});
afterEach(() => tf.disposeVariables());

interface Counters {
  readonly tensors: number;
  readonly dataIds: number;
  readonly arenaBytes: number;
}

/** What is in use once all that was enqueued is done. */
async function counters(): Promise<Counters> {
  await tf.time(() => undefined);
  const memory = tf.memory() as ReturnType<typeof tf.memory> & { arenaBytes: number };
  return { tensors: memory.numTensors, dataIds: tf.backend().numDataIds(), arenaBytes: memory.arenaBytes };
}

/** Operations on a matrix `[6, 5]` that give another. */
const STEPS: readonly ((x: Tensor2D) => Tensor)[] = [
  (x) => tf.add(x, tf.sum(x, 1, true)),
  (x) => tf.mul(x, tf.mean(x, 0)),
  (x) => tf.softmax(x),
  (x) => tf.sub(x, tf.logSumExp(x, 1, true)),
  (x) => tf.transpose(tf.reshape(tf.transpose(x), [5, 6])),
  (x) => tf.concat([tf.slice(x, [0, 0], [2, 5]), tf.slice(x, [2, 0], [4, 5])]),
  (x) => tf.stack(tf.unstack(x, 1), 1),
  (x) => tf.concat(tf.split(x, [1, 2, 3]), 0),
  (x) => tf.gather(x, tf.tensor1d([5, 0, 1, 1, 3, 2], 'int32')),
  (x) => tf.where(tf.greater(x, 0), x, tf.exp(tf.minimum(x, 0))),
  (x) => tf.matMul(x, tf.matMul(x, x, true)),
  (x) => tf.tanh(tf.slice(tf.pad(x, [[1, 1], [0, 2]]), [1, 0], [6, 5])),
  (x) => tf.clipByValue(tf.elu(x), -2, 2),
  (x) => tf.mul(x, tf.cast(tf.oneHot(tf.argMax(x, 1), 5), 'float32')),
  (x) => tf.einsum('ij,kj->ik', x, tf.square(tf.slice(x, [0, 0], [5, 5]))),
  (x) => tf.cumsum(tf.reverse(x, 0), 1),
  (x) => tf.slice(tf.tile(x, [1, 2]), [0, 3], [6, 5]),
  (x) => tf.div(x, tf.add(tf.max(tf.abs(x)), 1)),
  // Bridged.
  (x) => tf.add(x, tf.linalg.bandPart(x, 1, 1)),
  (x) => tf.mul(tf.real(tf.complex(x, x)), 0.5),
];

describe('memory', () => {
  it('stays flat over 1,000 random sequences with gradients', async () => {
    const random = rng(3, 'leaks');
    const weight = tf.variable(tf.randomNormal<tf.Rank.R2>([6, 5], 0, 1, 'float32', 5));
    const sequence = (): void => {
      const { value, grads } = valueAndGrads(() => {
        let x = tf.clone(weight) as Tensor2D;
        for (let i = 0; i < 4; i++) x = tf.clipByValue(STEPS[Math.floor(random.uniform() * STEPS.length)]!(x), -3, 3) as Tensor2D;
        return tf.mean(x);
      }, [weight]);
      value.dispose();
      grads.forEach((gradient) => gradient.dispose());
    };
    for (let i = 0; i < 20; i++) sequence();
    const before = await counters();
    for (let i = 0; i < 1000; i++) sequence();
    expect(await counters()).toEqual(before);
  });

  it('stays flat over every kind of step, with no step leaving a tensor of its own', async () => {
    const x = tf.randomNormal<tf.Rank.R2>([6, 5]);
    for (const step of STEPS) {
      const before = await counters();
      tf.tidy(() => void step(x));
      expect(await counters(), step.toString()).toEqual(before);
    }
    x.dispose();
  });

  it('is counted by tf.memory()', async () => {
    const before = await counters();
    const x = tf.zeros([1024, 256]);
    expect((await counters()).arenaBytes - before.arenaBytes).toBe(1024 * 1024);
    x.dispose();
    expect(await counters()).toEqual(before);
  });
});

describe('shared memory', () => {
  it('outlives the tensor that it was made for, in whatever order the names go', async () => {
    const before = await counters();
    const x = tf.tensor2d([[1, 2], [3, 4]]);
    const [flat, clone, whole] = [tf.reshape(x, [4]), tf.clone(x), tf.slice(x, [0, 0], [2, 2])];
    expect((await counters()).arenaBytes - before.arenaBytes).toBe(256);
    x.dispose();
    expect([...flat.dataSync()]).toEqual([1, 2, 3, 4]);
    clone.dispose();
    expect(whole.arraySync()).toEqual([[1, 2], [3, 4]]);
    flat.dispose();
    whole.dispose();
    expect((await counters()).arenaBytes).toBe(before.arenaBytes);
  });

  it('may be reused at once: an operation enqueued before has what it was given', () => {
    let x = tf.fill([1000], 1);
    for (let i = 0; i < 200; i++) {
      const next = tf.add(x, 1);
      x.dispose();
      x = next;
    }
    expect(x.dataSync().every((value) => value === 201)).toBe(true);
    x.dispose();
  });

  it('of a complex tensor lasts as long as it or a part', async () => {
    const before = await counters();
    const [real, imag] = [tf.tensor1d([1, 2]), tf.tensor1d([3, 4])];
    const z = tf.complex(real, imag);
    real.dispose();
    const part = tf.real(z);
    z.dispose();
    expect([...part.dataSync()]).toEqual([1, 2]);
    part.dispose();
    imag.dispose();
    expect(await counters()).toEqual(before);
  });
});

describe('an operation that fails', () => {
  const table = (): Tensor2D => tf.tensor2d([[1, 2], [3, 4], [5, 6]]);
  const at = (...indices: number[]): tf.Tensor1D => tf.tensor1d(indices, 'int32');

  it.each<[string, () => Tensor, string]>([
    ['gather', () => tf.gather(table(), at(0, 3)), 'GatherV2: the index value 3 is not in [0, 2]'],
    ['gather below 0', () => tf.gather(table(), at(-1)), 'GatherV2: the index value -1 is not in [0, 2]'],
    ['gatherND', () => tf.gatherND(table(), tf.tensor2d([[1, 2]], [1, 2], 'int32')), 'GatherNd: Invalid indices: 1,2 does not index into 3,2'],
    ['scatterND', () => tf.scatterND(tf.tensor2d([[4]], [1, 1], 'int32'), tf.tensor1d([1]), [3]), 'ScatterNd: Invalid indices: 4 does not index into 3'],
  ])('%s is told when its result is read, and the next one works', async (_, failing, message) => {
    const before = await counters();
    tf.tidy(() => {
      const failed = failing();
      expect(() => tf.sum(failed).dataSync()).toThrow(message);
      expect([...tf.add([1], [2]).dataSync()]).toEqual([3]);
      expect(() => failed.dataSync()).toThrow('has no value: the operation that makes it failed');
      expect([...tf.gather(table(), at(2)).dataSync()]).toEqual([5, 6]);
    });
    expect(await counters()).toEqual(before);
  });

  it('rejects a read that is waited for', async () => {
    const failed = tf.gather(table(), at(7));
    await expect(failed.data()).rejects.toThrow('GatherV2: the index value 7 is not in [0, 2]');
    expect(await tf.tensor1d([4]).data()).toEqual(Float32Array.of(4));
  });

  it('leaves nothing of a bridged kernel on the cpu backend', () => {
    const cpu = tf.findBackend('cpu');
    const before = cpu.numDataIds();
    tf.conv2d(tf.ones<tf.Rank.R4>([1, 4, 4, 1]), tf.ones<tf.Rank.R4>([2, 2, 1, 3]), 1, 'valid');
    expect(cpu.numDataIds()).toBe(before);
    const run = (): unknown => tf.engine().runKernel('Transform', { image: tf.ones([1, 2]) }, {});
    expect(run).toThrow();
    expect(cpu.numDataIds()).toBe(before);
  });
});
