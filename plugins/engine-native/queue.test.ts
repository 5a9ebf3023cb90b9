/** The queue between JavaScript and the executing thread. */
import { GraftError, tf, type Engine } from 'graft';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import type { NativeBackend } from './backend.ts';
import { startNative } from './engine.ts';

let engine: Engine;
let backend: NativeBackend;
beforeAll(async () => {
  engine = await startNative();
  backend = tf.backend() as NativeBackend;
});

const arena = () => backend.memory();

it('tells what an operation threw to the first who waits, and goes on', async () => {
  const table = tf.ones([3, 2]) as Tensor2D;
  const rows = engine.ops.embedding(table, Int32Array.from([0, 9]));
  const doubled = tf.matMul(rows, tf.tensor2d([[2, 0], [0, 2]]));
  const sound = tf.matMul(table, tf.tensor2d([[2, 0], [0, 2]]));
  await expect(doubled.data()).rejects.toThrow('embedding: row 9 is outside a table of 3');
  expect([...(await sound.data())]).toEqual([2, 2, 2, 2, 2, 2]);
});

it('leaves nothing of an operation that failed', async () => {
  const huge = backend.tensor([1]);
  backend.native.run('matMul', [backend.id(tf.ones([2, 2])), 2, 1, backend.id(tf.ones([2, 2])), 2, 1, 2 ** 23, 2, 2 ** 23, 1, 0, 0, backend.id(huge)]);
  await expect(huge.data()).rejects.toThrow('out of memory in matMul');
  await expect(huge.data()).rejects.toThrow(/tensor \d+ has no value: the operation that makes it failed/);
});

it('throws to a synchronous reader as well', () => {
  const rows = engine.ops.embedding(tf.ones([3, 2]) as Tensor2D, Int32Array.from([-1]));
  expect(() => rows.dataSync()).toThrow('embedding: row -1 is outside a table of 3');
});

it('reads values in the order in which they were asked for, while more is enqueued', async () => {
  const order: number[] = [];
  let x = tf.tensor2d([[1, 0], [0, 1]]);
  const twice = tf.tensor2d([[2, 0], [0, 2]]);
  const reads = Array.from({ length: 20 }, (_, i) => {
    x = tf.matMul(x, twice);
    return x.data().then(([value]) => order.push(value! === 2 ** (i + 1) ? i : -1));
  });
  await Promise.all(reads);
  expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
});

it('lets a value be disposed while it is read', async () => {
  const x = tf.fill([512, 512], 3);
  const reading = x.data();
  x.dispose();
  tf.fill([512, 512], 4);
  expect(new Set(await reading)).toEqual(new Set([3]));
});

it('takes any number of calls ahead of the executing thread', async () => {
  const before = tf.memory().numTensors;
  const one = tf.tensor2d([[1]]);
  const y = tf.tidy(() => {
    let value = one;
    for (let i = 0; i < 70_000; i++) value = tf.matMul(value, one);
    return value;
  });
  expect([...(await y.data())]).toEqual([1]);
  tf.dispose([y, one]);
  expect(tf.memory().numTensors).toBe(before);
});

it('gives the memory of what was disposed back to the system when the engine ends', async () => {
  const x = tf.ones([1024, 1024]);
  await x.data();
  const { arenaBytes } = arena();
  x.dispose();
  await engine.dispose();
  expect(arena().arenaBytes).toBe(arenaBytes - 4 * 2 ** 20);
  // Less than the huge page that something else may use a part of.
  expect(arena().arenaCachedBytes).toBeLessThan(2 * 2 ** 20);
});

it('refuses another number of threads than it runs with', async () => {
  await expect(startNative(999)).rejects.toSatisfy((error) => GraftError.is(error) && error.code === 'ENGINE_THREADS');
});
