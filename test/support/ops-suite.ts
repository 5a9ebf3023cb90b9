/** What any engine's fused operations must hold to: the naive definitions in value and gradient, and finite differences. */
import { describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D, Variable } from '@tensorflow/tfjs-core';
import { valueAndGrads, type Engine, type FrozenWeight, type FusedOps } from '../../core/index.ts';
import { constant, distance, expectFiniteDifferences, expectSame, normals, project, variable } from './gradients.ts';
import * as naive from './naive-ops.ts';

const offsets = (...values: number[]) => Int32Array.from(values);

/** @param engineOf read when a test runs, after the engine has started */
export function describeOps(engineOf: () => Pick<Engine, 'ops' | 'freeze'>): void {
  const ops: FusedOps = new Proxy({} as FusedOps, { get: (_, name) => engineOf().ops[name as keyof FusedOps] });

  /** One matrix, frozen by the engine and as a plain tensor. */
  const frozenPair = (shape: [number, number], name: string): { frozen: FrozenWeight; plain: Tensor2D } => {
    const values = normals(shape, name);
    const bytes = () => new Uint8Array(values.buffer);
    return { frozen: engineOf().freeze({ name, shape, dtype: 'F32', bytes }, 'f32'), plain: tf.tensor2d(values, shape) };
  };

  describe('linear', () => {
    it.each([[1, 1, 1], [5, 3, 7], [33, 17, 9], [64, 32, 48]])('%i rows, %i in, %i out, every operand trained', (rows, from, to) => {
      const x = variable<Tensor2D>([rows, from], 'x');
      const weight = variable<Tensor2D>([to, from], 'w');
      const bias = variable<Tensor1D>([to], 'bias');
      expectSame(() => ops.linear(x, weight, bias), () => naive.linear(x, weight, bias), [x, weight, bias]);
    });

    it('low-rank terms on the input and on one of their own', () => {
      const [x, own] = [variable<Tensor2D>([6, 5], 'x'), variable<Tensor2D>([6, 3], 'own')];
      const terms = [
        { a: variable<Tensor2D>([2, 5], 'a0'), b: variable<Tensor2D>([4, 2], 'b0'), scale: 2 },
        { input: own, a: variable<Tensor2D>([3, 3], 'a1'), b: variable<Tensor2D>([4, 3], 'b1'), scale: 0.25 },
      ];
      const { frozen, plain } = frozenPair([4, 5], 'w');
      const trained = [x, own, ...terms.flatMap(({ a, b }) => [a, b])] as Variable[];
      expectSame(() => ops.linear(x, frozen, undefined, terms), () => naive.linear(x, plain, undefined, terms), trained);
      expectFiniteDifferences(() => ops.linear(x, frozen, undefined, terms), trained);
    });

    it('low-rank terms of some rows, which may overlap, and their gradients', () => {
      const x = variable<Tensor2D>([70, 5], 'x');
      const term = (r: number, name: string, ...rows: [number, number][]) => ({ a: variable<Tensor2D>([r, 5], `a${name}`), b: variable<Tensor2D>([4, r], `b${name}`), scale: r / 16, rows: rows.map(([start, count]) => ({ start, count })) });
      const terms = [term(2, '0', [0, 1], [3, 40]), term(9, '1', [1, 1], [60, 10]), term(3, '2', [40, 5])];
      const { frozen, plain } = frozenPair([4, 5], 'w');
      const everyRow = { a: variable<Tensor2D>([2, 5], 'a3'), b: variable<Tensor2D>([4, 2], 'b3'), scale: 1 };
      const masked = () =>
        terms.reduce((sum, { a, b, scale, rows }) => {
          const inRows = Float32Array.from({ length: 70 }, (_, row) => (rows.some(({ start, count }) => row >= start && row < start + count) ? scale : 0));
          return tf.add(sum, tf.mul(naive.linear(naive.linear(x, a), b), tf.tensor2d(inRows, [70, 1])));
        }, naive.linear(x, plain, undefined, [everyRow]));
      const trained = [x, everyRow.a, everyRow.b, ...terms.flatMap(({ a, b }) => [a, b])] as Variable[];
      expectSame(() => ops.linear(x, frozen, undefined, [everyRow, ...terms]), masked, trained);
      const constants = (tensor: Tensor2D) => tf.clone(tensor);
      const frozenTerms = [everyRow, ...terms].map((each) => ({ ...each, a: constants(each.a), b: constants(each.b) }));
      expect(distance(ops.linear(constants(x), frozen, undefined, frozenTerms), masked())).toBeLessThan(1e-5);
      expect(() => ops.linear(x, frozen, undefined, [{ ...everyRow, rows: [{ start: 69, count: 2 }] }])).toThrow('2 rows from row 69 on, and the input has 70');
    });

    it.each([1, 2, 3, 4, 8, 16, 20])('low-rank terms of one row each, of rank %i', (r) => {
      const x = constant<Tensor2D>([6, 33], 'x');
      const { frozen, plain } = frozenPair([37, 33], 'w');
      const terms = Array.from({ length: 5 }, (_, i) => ({ a: constant<Tensor2D>([r, 33], `a${i}`), b: constant<Tensor2D>([37, r], `b${i}`), scale: i / 4 / r, rows: [{ start: i + 1, count: 1 }] }));
      const naively = terms.reduce((sum, { a, b, scale }, i) => tf.add(sum, tf.mul(naive.linear(naive.linear(x, a), b), tf.mul(scale, tf.oneHot(tf.tensor1d([i + 1], 'int32'), 6).reshape([6, 1])))), naive.linear(x, plain));
      expect(distance(ops.linear(x, frozen, undefined, terms), naively)).toBeLessThan(1e-5);
    });

    it.each([['x alone', true, false, false], ['the terms alone', false, true, false], ['the weight alone', false, false, true]] as const)('gives the gradient of %s', (_, ofX, ofTerms, ofWeight) => {
      const make = (wanted: boolean, shape: number[], name: string) => (wanted ? variable<Tensor2D>(shape, name) : constant<Tensor2D>(shape, name));
      const [x, a, b, w] = [make(ofX, [6, 5], 'x'), make(ofTerms, [2, 5], 'a'), make(ofTerms, [4, 2], 'b'), make(ofWeight, [4, 5], 'w')];
      const trained = [x, a, b, w].filter((t) => t instanceof tf.Variable) as Variable[];
      const terms = [{ a, b, scale: 3 }];
      expectSame(() => ops.linear(x, w, undefined, terms), () => naive.linear(x, w, undefined, terms), trained);
    });

    it('computes no gradient of a frozen weight and saves nothing for one', () => {
      const x = constant<Tensor2D>([64, 32], 'x');
      const { frozen } = frozenPair([48, 32], 'w');
      const bias = variable<Tensor1D>([48], 'bias');
      const { grads } = valueAndGrads(() => tf.sum(ops.linear(x, frozen, bias)), [bias]);
      expect([...grads[0]!.dataSync()]).toEqual(new Array<number>(48).fill(64));
    });
  });

  describe('frozen weights', () => {
    it('keep the checkpoint\'s layout to the outside and give their values back bit for bit', () => {
      const { frozen, plain } = frozenPair([7, 5], 'w');
      const x = constant<Tensor2D>([3, 5], 'x');
      ops.linear(x, frozen);
      expect(frozen.shape).toEqual([7, 5]);
      expect(distance(frozen.toTensor(), plain)).toBe(0);
      ops.embedding(frozen, Int32Array.from([2]));
      expect(distance(frozen.toTensor(), plain)).toBe(0);
    });

    it('serve products and lookups at once, as tied embeddings ask', () => {
      const { frozen, plain } = frozenPair([7, 5], 'tied');
      const x = constant<Tensor2D>([3, 5], 'x');
      const ids = Int32Array.from([6, 0, 6, 3]);
      for (let i = 0; i < 2; i++) {
        expect(distance(ops.linear(x, frozen), naive.linear(x, plain))).toBeLessThan(1e-5);
        expect(distance(ops.embedding(frozen, ids), naive.embedding(plain, ids))).toBe(0);
      }
    });
  });

  describe('embedding', () => {
    it('adds up the gradients of a token that occurs twice', () => {
      const weight = variable<Tensor2D>([9, 4], 'e');
      const ids = Int32Array.from([3, 8, 3, 0, 3]);
      expectSame(() => ops.embedding(weight, ids), () => naive.embedding(weight, ids), [weight]);
    });
  });

  describe('rmsNorm', () => {
    it.each([[1, 1], [3, 7], [33, 64]])('[%i, %i]', (rows, size) => {
      const x = variable<Tensor2D>([rows, size], 'x');
      const weight = variable<Tensor1D>([size], 'norm');
      expectSame(() => ops.rmsNorm(x, weight, 1e-5), () => naive.rmsNorm(x, weight, 1e-5), [x, weight]);
      expectSame(() => ops.rmsNorm(x, constant([size], 'n'), 1e-5), () => naive.rmsNorm(x, constant([size], 'n'), 1e-5), [x]);
    });

    it('agrees with finite differences', () => {
      const x = variable<Tensor2D>([3, 5], 'x');
      const weight = variable<Tensor1D>([5], 'norm');
      expectFiniteDifferences(() => ops.rmsNorm(x, weight, 1e-5), [x, weight]);
    });

    it('of zeros is zero, and so finite', () => {
      expect([...ops.rmsNorm(tf.zeros([2, 3]), tf.ones([3]), 1e-6).dataSync()]).toEqual([0, 0, 0, 0, 0, 0]);
    });
  });

  describe('rope', () => {
    it.each([[1, 1, 2], [5, 3, 4], [7, 2, 10], [6, 8, 16]])('[%i, %i, %i]', (tokens, heads, size) => {
      const x = variable<Tensor3D>([tokens, heads, size], 'x');
      const angles = constant<Tensor2D>([tokens, size / 2], 'angles', 3);
      const [cos, sin] = [tf.cos(angles), tf.sin(angles)];
      expectSame(() => ops.rope(x, cos, sin), () => naive.rope(x, cos, sin), [x]);
    });
  });

  describe('attention', () => {
    const compare = (heads: number, groups: number, size: number, query: Int32Array, key: Int32Array, window?: number) => {
      const shape = { queryOffsets: query, keyOffsets: key, scale: size ** -0.5, window };
      const q = variable<Tensor3D>([query[query.length - 1]!, heads, size], 'q');
      const k = variable<Tensor3D>([key[key.length - 1]!, groups, size], 'k');
      const v = variable<Tensor3D>([key[key.length - 1]!, groups, size], 'v');
      expectSame(() => ops.attention(q, k, v, shape), () => naive.attention(q, k, v, shape), [q, k, v]);
    };

    it.each([[1, 1], [4, 4], [4, 2], [8, 1], [6, 3]])('%i heads on %i key heads', (heads, groups) => compare(heads, groups, 4, offsets(0, 3, 4, 9), offsets(0, 3, 4, 9)));
    it.each([1, 2, 3, 4, 5, 6, 7, 8])('%i heads to a key head', (perGroup) => compare(perGroup * 2, 2, 4, offsets(0, 5, 6), offsets(0, 5, 6)));
    it.each([2, 5, 16])('heads of %i', (size) => compare(2, 2, size, offsets(0, 7), offsets(0, 7)));
    it('one-token segments alone', () => compare(2, 1, 4, offsets(0, 1, 2, 3), offsets(0, 1, 2, 3)));
    it('a segment longer than any block of an implementation', () => compare(2, 1, 4, offsets(0, 67), offsets(0, 67)));
    it('a cache: the last queries align with the last keys', () => compare(4, 2, 4, offsets(0, 1, 3), offsets(0, 5, 12)));
    it.each([1, 2, 4])('a window of %i', (window) => compare(2, 1, 4, offsets(0, 9, 12), offsets(0, 9, 12), window));
    it('a window and a cache', () => compare(2, 1, 4, offsets(0, 2), offsets(0, 9), 3));

    it.each([[1, 1, 2], [4, 2, 4], [6, 3, 10], [8, 1, 16]])('turns queries and keys itself: %i heads of %3$i on %i', (heads, groups, size) => {
      const angles = constant<Tensor2D>([12, size / 2], 'angles', 3);
      const [cos, sin] = [tf.cos(angles), tf.sin(angles)];
      const shape = { queryOffsets: offsets(0, 7, 8, 12), keyOffsets: offsets(0, 7, 8, 12), scale: size ** -0.5 };
      const [q, k, v] = [variable<Tensor3D>([12, heads, size], 'q'), variable<Tensor3D>([12, groups, size], 'k'), variable<Tensor3D>([12, groups, size], 'v')];
      expectSame(() => ops.attention(q, k, v, { ...shape, rotation: { cos, sin } }), () => naive.attention(naive.rope(q, cos, sin), naive.rope(k, cos, sin), v, shape), [q, k, v]);
    });

    it('refuses to turn keys of other tokens than the queries', () => {
      const [q, k, angles] = [tf.zeros([1, 1, 2]) as Tensor3D, tf.zeros([4, 1, 2]) as Tensor3D, tf.zeros([1, 1]) as Tensor2D];
      const shape = { queryOffsets: offsets(0, 1), keyOffsets: offsets(0, 4), scale: 1, rotation: { cos: angles, sin: angles } };
      expect(() => ops.attention(q, k, k, shape)).toThrow('Attention can turn queries and keys only where they are of the same tokens; with a cache, turn them before.');
    });

    it('agrees with finite differences', () => {
      const shape = { queryOffsets: offsets(0, 2, 5), keyOffsets: offsets(0, 2, 5), scale: 0.5 };
      const [q, k, v] = [variable<Tensor3D>([5, 4, 4], 'q'), variable<Tensor3D>([5, 2, 4], 'k'), variable<Tensor3D>([5, 2, 4], 'v')];
      expectFiniteDifferences(() => ops.attention(q, k, v, shape), [q, k, v]);
    });

    it('gives the gradient of the values alone where only they are trained', () => {
      const shape = { queryOffsets: offsets(0, 2, 5), keyOffsets: offsets(0, 2, 5), scale: 0.5 };
      const [q, k, v] = [constant<Tensor3D>([5, 2, 4], 'q'), constant<Tensor3D>([5, 2, 4], 'k'), variable<Tensor3D>([5, 2, 4], 'v')];
      expectSame(() => ops.attention(q, k, v, shape), () => naive.attention(q, k, v, shape), [v]);
    });

    it('never lets a later token or another segment change an earlier output', () => {
      const shape = { queryOffsets: offsets(0, 4, 8), keyOffsets: offsets(0, 4, 8), scale: 0.5 };
      const x = normals([8, 2, 4], 'x');
      const run = (values: Float32Array) => tf.tidy(() => ops.attention(tf.tensor3d(values, [8, 2, 4]), tf.tensor3d(values, [8, 2, 4]), tf.tensor3d(values, [8, 2, 4]), shape).dataSync());
      const changed = x.slice();
      for (let i = 2 * 8; i < 4 * 8; i++) changed[i]! += 5;
      const [before, after] = [run(x), run(changed)];
      expect([...after.slice(0, 2 * 8)]).toEqual([...before.slice(0, 2 * 8)]);
      expect([...after.slice(4 * 8)]).toEqual([...before.slice(4 * 8)]);
    });

    it('stays finite on scores of any size', () => {
      const shape = { queryOffsets: offsets(0, 3), keyOffsets: offsets(0, 3), scale: 1 };
      const big = tf.fill([3, 1, 2], 200) as Tensor3D;
      expect([...ops.attention(big, big, tf.ones([3, 1, 2]), shape).dataSync()].every((value) => Math.abs(value - 1) < 1e-5)).toBe(true);
    });

    it('refuses offsets that do not end where the tensors do', () => {
      const [q, k] = [tf.zeros([3, 1, 2]) as Tensor3D, tf.zeros([4, 1, 2]) as Tensor3D];
      expect(() => ops.attention(q, k, k, { queryOffsets: offsets(0, 3), keyOffsets: offsets(0, 3), scale: 1 })).toThrow('Attention was given 3 queries and 4 keys, and offsets that end at 3 and 3 in 1 and 1 segments.');
    });
  });

  describe('swiglu', () => {
    it.each([[1, 1], [3, 7], [16, 64]])('[%i, %i]', (rows, size) => {
      const [gate, up] = [variable<Tensor2D>([rows, size], 'gate', 3), variable<Tensor2D>([rows, size], 'up')];
      expectSame(() => ops.swiglu(gate, up), () => naive.swiglu(gate, up), [gate, up]);
    });

    it('agrees with finite differences', () => {
      const [gate, up] = [variable<Tensor2D>([2, 5], 'gate'), variable<Tensor2D>([2, 5], 'up')];
      expectFiniteDifferences(() => ops.swiglu(gate, up), [gate, up]);
    });

    it('stays finite far out', () => {
      const values = ops.swiglu(tf.tensor2d([[-200, 200]]), tf.ones([1, 2])).dataSync();
      expect(Math.abs(values[0]!)).toBeLessThan(1e-6);
      expect(values[1]).toBeCloseTo(200, 3);
    });
  });

  describe('crossEntropy', () => {
    const targets = Int32Array.from([3, -100, 0, 10, -100, 3, 7]);

    it('hidden and weight trained', () => {
      const [hidden, weight] = [variable<Tensor2D>([7, 5], 'h'), variable<Tensor2D>([11, 5], 'w')];
      expectSame(() => ops.crossEntropy(hidden, weight, targets), () => naive.crossEntropy(hidden, weight, targets), [hidden, weight]);
      expectFiniteDifferences(() => ops.crossEntropy(hidden, weight, targets), [hidden, weight]);
    });

    it('a frozen weight', () => {
      const hidden = variable<Tensor2D>([7, 5], 'h');
      const { frozen, plain } = frozenPair([11, 5], 'w');
      expectSame(() => ops.crossEntropy(hidden, frozen, targets), () => naive.crossEntropy(hidden, plain, targets), [hidden]);
    });

    it('the weight alone, and every row a target', () => {
      const hidden = constant<Tensor2D>([3, 5], 'h');
      const weight = variable<Tensor2D>([11, 5], 'w');
      const every = Int32Array.from([1, 10, 0]);
      expectSame(() => ops.crossEntropy(hidden, weight, every), () => naive.crossEntropy(hidden, weight, every), [weight]);
    });

    // Against float64: over this many classes the naive float32 definition is itself off by more than the tolerance.
    it('more rows than one chunk holds', () => {
      const rows = 37;
      const vocabulary = 2 ** 17;
      const hidden = variable<Tensor2D>([rows, 2], 'h');
      const { frozen, plain } = frozenPair([vocabulary, 2], 'w');
      const every = Int32Array.from({ length: rows }, (_, i) => (i * 9973) % vocabulary);
      const { losses, gradient } = naive.crossEntropyInFloat64(hidden.dataSync<'float32'>(), plain.dataSync<'float32'>(), every, 2);
      const { grads } = valueAndGrads(() => tf.sum(ops.crossEntropy(hidden, frozen, every)), [hidden]);
      expect(distance(tf.tidy(() => ops.crossEntropy(hidden, frozen, every)), tf.tensor1d(losses)), 'value').toBeLessThan(2e-5);
      // Relative to the largest gradient, as expectSame has it.
      expect(distance(grads[0]!, tf.tensor2d(gradient, [rows, 2])) / Math.max(...gradient.map(Math.abs)), 'gradient').toBeLessThan(2e-5);
    });

    it('is 0 everywhere, with a gradient of 0, where no row has a target', () => {
      const hidden = variable<Tensor2D>([2, 5], 'h');
      const { frozen } = frozenPair([11, 5], 'w');
      const { value, grads } = valueAndGrads(() => tf.sum(ops.crossEntropy(hidden, frozen, Int32Array.from([-100, -100]))), [hidden]);
      expect(value.dataSync()[0]).toBe(0);
      expect([...grads[0]!.dataSync()].every((g) => g === 0)).toBe(true);
    });

    it('is exact where the target is all but impossible', () => {
      const hidden = tf.tensor2d([[200, 0]]);
      const { value } = { value: ops.crossEntropy(hidden, tf.tensor2d([[1, 0], [-1, 0]]), Int32Array.from([1])) };
      expect(value.dataSync()[0]).toBeCloseTo(400, 2);
    });

    it('refuses a target outside the vocabulary', () => {
      expect(() => ops.crossEntropy(tf.zeros([1, 2]), tf.zeros([3, 2]), Int32Array.from([3]))).toThrow('Target 3 of row 0 is outside the vocabulary of 3.');
    });
  });

  describe('dropout', () => {
    const key = { seed: 5, step: 3, path: 'model.layers.0/lora' };

    it('zeroes about `rate` of the elements and scales the others', () => {
      const values = ops.dropout(tf.ones([100, 100]), 0.25, key).dataSync();
      const zeros = values.filter((value) => value === 0).length;
      expect(Math.abs(zeros / 10_000 - 0.25)).toBeLessThan(0.02);
      expect(new Set(values)).toEqual(new Set([0, Math.fround(1 / 0.75)]));
    });

    it('draws the same mask for the same key, and another for another step, path or seed', () => {
      const draw = (changed: Partial<typeof key>) => [...ops.dropout(tf.ones([64]), 0.5, { ...key, ...changed }).dataSync()].join();
      expect(draw({})).toBe(draw({}));
      for (const changed of [{ step: 4 }, { path: 'other' }, { seed: 6 }]) expect(draw(changed)).not.toBe(draw({}));
    });

    it('passes the gradient through its own mask', () => {
      const x = variable([50], 'x');
      const y = ops.dropout(tf.ones([50]), 0.5, key);
      const { grads } = valueAndGrads(() => tf.sum(ops.dropout(x, 0.5, key)), [x]);
      expect(distance(grads[0]!, y)).toBe(0);
    });

    it('is the identity at rate 0, and refuses a rate of 1', () => {
      const x = constant<Tensor>([4], 'x');
      expect(distance(ops.dropout(x, 0, key), x)).toBe(0);
      expect(() => ops.dropout(x, 1, key)).toThrow('A dropout rate must be at least 0 and below 1, not 1.');
    });
  });

  it('keeps the tensor count flat over forward and backward of every operation', () => {
    const weight = variable<Tensor2D>([12, 8], 'w');
    const norm = variable<Tensor1D>([8], 'norm');
    const { frozen } = frozenPair([8, 8], 'f');
    const ids = Int32Array.from([1, 2, 3, 4, 5]);
    const [cos, sin] = [constant<Tensor2D>([5, 2], 'c'), constant<Tensor2D>([5, 2], 's')];
    const shape = { queryOffsets: offsets(0, 2, 5), keyOffsets: offsets(0, 2, 5), scale: 0.5 };
    const pass = () => {
      const x = ops.rmsNorm(ops.embedding(weight, ids), norm, 1e-5);
      const q = ops.rope(tf.reshape(ops.linear(x, frozen), [5, 2, 4]), cos, sin);
      const y = tf.reshape(ops.attention(q, q, q, shape), [5, 8]) as Tensor2D;
      return project(ops.crossEntropy(ops.swiglu(ops.dropout(y, 0.1, { seed: 1, step: 1, path: 'p' }), x), weight, ids));
    };
    const step = () => {
      const { value, grads } = valueAndGrads(pass, [weight, norm]);
      tf.dispose([value, ...grads]);
      tf.tidy(() => void pass());
    };
    step();
    const before = tf.memory().numTensors;
    for (let i = 0; i < 20; i++) step();
    expect(tf.memory().numTensors).toBe(before);
  });
}
