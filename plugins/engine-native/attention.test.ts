import { beforeAll, describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor2D, Tensor3D, Variable } from '@tensorflow/tfjs-core';
import { portableOps, valueAndGrads, type AttentionShape, type Rotation } from '../../core/index.ts';
import { constant, distance, expectSame, normals, project, variable } from '../../test/support/gradients.ts';
import * as naive from '../../test/support/naive-ops.ts';
import type { NativeBackend } from './backend.ts';
import { loadAddon } from './binding.ts';
import { startNative } from './engine.ts';
import { nativeAttention } from './ops/attention.ts';

const offsets = (...values: number[]): Int32Array => Int32Array.from(values);

interface Operands {
  readonly q: Variable & Tensor3D;
  readonly k: Variable & Tensor3D;
  readonly v: Variable & Tensor3D;
  readonly shape: AttentionShape;
}

function operands(heads: number, groups: number, size: number, queryOffsets: Int32Array, keyOffsets = queryOffsets, window?: number): Operands {
  const [queries, keys] = [queryOffsets.at(-1)!, keyOffsets.at(-1)!];
  return {
    q: variable<Tensor3D>([queries, heads, size], 'q'),
    k: variable<Tensor3D>([keys, groups, size], 'k'),
    v: variable<Tensor3D>([keys, groups, size], 'v'),
    shape: { queryOffsets, keyOffsets, scale: size ** -0.5, window },
  };
}

function anglesOf(tokens: number, size: number): Rotation {
  const angle = constant<Tensor2D>([tokens, size / 2], 'angle', 2);
  return { cos: tf.cos(angle), sin: tf.sin(angle) };
}

const THREADS = 3;

describe.each(loadAddon().isas())('native attention on %s', (isa) => {
  let attention: ReturnType<typeof nativeAttention>;
  beforeAll(async () => {
    await startNative();
    loadAddon().start(isa, THREADS);
    attention = nativeAttention(tf.backend() as NativeBackend);
  });

  const compare = (given: Operands, definition: typeof attention = portableOps.attention) => {
    const { q, k, v, shape } = given;
    expectSame(() => attention(q, k, v, shape), () => definition(q, k, v, shape), [q, k, v], 4e-5);
    tf.dispose([q, k, v]);
  };

  it.each([1, 2, 5, 16, 48, 64, 80, 128, 256])('heads of %i', (size) => compare(operands(4, 2, size, offsets(0, 37, 38, 75))));
  it.each([1, 2, 3, 4, 5, 6, 7, 8, 12])('%i heads to a key head', (group) => compare(operands(2 * group, 2, 12, offsets(0, 19, 20, 53))));
  it('agrees with the formulas written out', () => compare(operands(6, 2, 10, offsets(0, 11, 12, 26)), naive.attention));
  it('one-token segments and none', () => compare(operands(4, 2, 6, offsets(0, 1, 2, 2, 3)), naive.attention));
  it.each([113, 129, 300])('a segment of %i', (length) => compare(operands(3, 1, 16, offsets(0, length))));
  it('a segment cut into a piece for every thread and more', () => compare(operands(2, 1, 8, offsets(0, 600))));
  it('a hundred segments of any length', () => compare(operands(3, 3, 8, Int32Array.from({ length: 101 }, (_, i) => i * 2 + Math.floor(i * i * 0.04)))));

  describe('a window', () => {
    it.each([1, 2, 13, 14, 40, 1000])('of %i', (window) => compare(operands(2, 1, 16, offsets(0, 190, 200), offsets(0, 190, 200), window)));
    it('of Infinity is none', () => compare(operands(2, 2, 4, offsets(0, 9), offsets(0, 9), Infinity)));
    it('over a cache', () => compare(operands(4, 1, 16, offsets(0, 50, 51), offsets(0, 150, 350), 70)));
  });

  describe('a cache', () => {
    it('of another length for each segment', () => compare(operands(6, 2, 20, offsets(0, 1, 8, 40), offsets(0, 30, 37, 200))));
    it.each([1, 3, 8, 9])('that one token of %i heads to a key head reads', (group) => compare(operands(2 * group, 2, 64, offsets(0, 1), offsets(0, 300))));
    it('that is longer than what one thread reads of it', () => compare(operands(3, 1, 6, offsets(0, 1, 3), offsets(0, 2500, 4300))));
    it('that two tokens read through a window', () => compare(operands(2, 1, 5, offsets(0, 2), offsets(0, 200), 66)));
  });

  it.each<[string, readonly ('q' | 'k' | 'v')[]]>([['queries', ['q']], ['keys', ['k']], ['values', ['v']], ['queries and values', ['q', 'v']]])('gives the gradient of the %s alone', (_, names) => {
    const { q, k, v, shape } = operands(4, 2, 16, offsets(0, 50, 60));
    const wanted = names.map((name) => ({ q, k, v })[name]);
    expectSame(() => attention(q, k, v, shape), () => portableOps.attention(q, k, v, shape), wanted, 4e-5);
  });

  describe('with a rotation', () => {
    it.each([2, 6, 16, 48, 64, 80, 128])('is attention of what rope turned: heads of %i', (size) => {
      const { q, k, v, shape } = operands(6, 2, size, offsets(0, 1, 3, 40, 75));
      const angles = anglesOf(75, size);
      const definition = (): Tensor3D => portableOps.attention(portableOps.rope(q, angles.cos, angles.sin), portableOps.rope(k, angles.cos, angles.sin), v, shape);
      expectSame(() => attention(q, k, v, { ...shape, rotation: angles }), definition, [q, k, v], 4e-5);
    });

    it('refuses keys at other positions than the queries', () => {
      const { q, k, v, shape } = operands(2, 1, 4, offsets(0, 2), offsets(0, 5));
      expect(() => attention(q, k, v, { ...shape, rotation: anglesOf(2, 4) })).toThrow('only where they are of the same tokens');
    });

    it('refuses angles of other tokens', () => {
      const { q, k, v, shape } = operands(2, 1, 4, offsets(0, 5));
      expect(() => attention(q, k, v, { ...shape, rotation: anglesOf(4, 4) })).toThrow('Attention over 5 tokens with heads of 4 was given angles of shape [4, 2] and [4, 2], not [5, 2].');
    });
  });

  it('refuses heads that do not share keys evenly', () => {
    const { q, k, v, shape } = operands(3, 2, 4, offsets(0, 5));
    expect(() => attention(q, k, v, shape)).toThrow('Attention was given queries [5, 3, 4], keys [5, 2, 4] and values [5, 2, 4]');
  });

  it('gives the same bits again, however the threads take turns', () => {
    const { q, k, v, shape } = operands(4, 2, 12, offsets(0, 160, 200));
    const gradients = () => valueAndGrads(() => project(attention(q, k, v, shape)), [q, k, v]).grads.map((grad) => grad.dataSync());
    const first = gradients();
    for (let i = 0; i < 3; i++) expect(gradients()).toEqual(first);
  });

  it('lets no score overflow, and takes no key that is 1e4 below the largest', () => {
    const q = tf.tensor3d([1, 1, 1], [3, 1, 1]);
    const k = tf.tensor3d([-1e4, 0, 1e4], [3, 1, 1]);
    const v = tf.tensor3d([1, 2, 3], [3, 1, 1]);
    const repeated = [q, k, v].map((x) => tf.tile(x, [1, 12, 1]) as Tensor3D) as [Tensor3D, Tensor3D, Tensor3D];
    const out = attention(...repeated, { queryOffsets: offsets(0, 3), keyOffsets: offsets(0, 3), scale: 1 });
    expect([...out.dataSync()]).toEqual([1, 2, 3].flatMap((value) => new Array<number>(12).fill(value)));
  });

  it('lets what is not a number in one segment reach no other', () => {
    const values = normals([60, 1, 4], 'x');
    values[30 * 4] = NaN;
    const x = tf.tensor3d(values, [60, 1, 4]);
    const out = attention(x, x, x, { queryOffsets: offsets(0, 30, 60), keyOffsets: offsets(0, 30, 60), scale: 0.5 }).dataSync();
    expect(out.subarray(0, 120).every(Number.isFinite)).toBe(true);
    expect(out[30 * 4]).toBeNaN();
  });
});

it('holds no square of the tokens: 8,192 of them need less than a twentieth of their scores, forward and backward', async () => {
  const addon = loadAddon();
  await startNative();
  addon.start(addon.isas()[0]!, THREADS);
  const attention = nativeAttention(tf.backend() as NativeBackend);
  const { q, k, v, shape } = operands(2, 1, 32, offsets(0, 8192));
  const { value, grads } = valueAndGrads(() => tf.sum(attention(q, k, v, shape)), [q, k, v]);
  tf.dispose([value, ...grads]);
  addon.drain();
  expect(addon.memory().peak).toBeLessThan((2 * 8192 * 8192 * 4) / 20);
});

it('is as far from float64 as float32 rounds', async () => {
  await startNative();
  loadAddon().start(loadAddon().isas()[0]!, 1);
  const [n, size] = [150, 24];
  const { q, k, v, shape } = operands(1, 1, size, offsets(0, n));
  const out = nativeAttention(tf.backend() as NativeBackend)(q, k, v, shape);
  const [qs, ks, vs] = [q, k, v].map((x: Tensor) => x.dataSync()) as [Float32Array, Float32Array, Float32Array];
  const expected = Float32Array.from({ length: n * size }, (_, at) => {
    const [i, d] = [Math.floor(at / size), at % size];
    const scores = Array.from({ length: i + 1 }, (_, j) => shape.scale * qs.subarray(i * size, (i + 1) * size).reduce((sum, x, l) => sum + x * ks[j * size + l]!, 0));
    const weights = scores.map((score) => Math.exp(score - Math.max(...scores)));
    return weights.reduce((sum, weight, j) => sum + weight * vs[j * size + d]!, 0) / weights.reduce((a, b) => a + b);
  });
  expect(distance(out, tf.tensor3d(expected, [n, 1, size]))).toBeLessThan(1e-6);
});
