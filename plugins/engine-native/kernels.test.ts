import * as core from '@tensorflow/tfjs-core';
import { tf } from 'graft';
import { beforeAll, describe, expect, it } from 'vitest';
import { bools, expectAsCpu, floats, ints, type Operand, type Operands, type Tolerance } from '../../test/support/kernels.ts';
import { BACKEND } from './backend.ts';
import { startNative } from './engine.ts';
import { nativeKernels } from './kernels/index.ts';

beforeAll(async () => {
  await startNative();
});

interface Case {
  readonly operands: Operands;
  readonly attrs?: Readonly<Record<string, unknown>>;
  readonly tolerance?: Tolerance;
}

/** Lengths around the widths of vectors, and one that several threads share. */
const LENGTHS = [1, 3, 7, 8, 15, 16, 17, 33, 100, 70_001];
const SPECIAL = Float32Array.from([NaN, Infinity, -Infinity, 0, -0, 1, -1, 0.5, 1.5, 2.5, -0.5, -1.5, 3e38, -3e38, 1e-20, -1e-20, 88.7, 89, -87, -104, 13, 14, -14]);
const special: Operand = { shape: [SPECIAL.length], dtype: 'float32', values: SPECIAL };

const clip = { clipValueMin: -1.5, clipValueMax: 2 };
const UNARY: Readonly<Record<string, { readonly domain?: (x: number) => number; readonly attrs?: Record<string, unknown>; readonly types?: readonly ('int32' | 'bool')[]; readonly tolerance?: Tolerance }>> = {
  Abs: { types: ['int32'] }, Neg: { types: ['int32'] }, Square: { types: ['int32'] }, Sign: { types: ['int32'] }, Relu: { types: ['int32'] }, ClipByValue: { attrs: clip, types: ['int32'] },
  Reciprocal: {}, Sqrt: { domain: Math.abs }, Rsqrt: { domain: Math.abs }, Exp: { domain: (x) => 9 * x, types: ['int32'] }, Expm1: { domain: (x) => 3 * x }, Log: { domain: (x) => Math.exp(9 * x) }, Log1p: { domain: (x) => Math.expm1(2 * x) },
  Sigmoid: { domain: (x) => 9 * x }, Tanh: { domain: (x) => 2 * x }, Softplus: { domain: (x) => 9 * x }, Erf: { domain: (x) => 2 * x, tolerance: { absolute: 5e-7 } },
  Relu6: { domain: (x) => 9 * x }, LeakyRelu: { attrs: { alpha: 0.2 }, types: ['int32'] }, Elu: {}, Selu: {}, Step: { attrs: { alpha: 0.25 } },
  Floor: { domain: (x) => 99 * x }, Ceil: { domain: (x) => 99 * x }, Round: { domain: (x) => Math.round(9 * x) / 2 }, Sin: { domain: (x) => 99 * x }, Cos: { domain: (x) => 99 * x }, Tan: {}, Asin: { domain: Math.tanh }, Acos: { domain: Math.tanh }, Atan: {}, Sinh: {}, Cosh: {}, Asinh: {}, Acosh: { domain: (x) => 1 + Math.abs(x) }, Atanh: { domain: (x) => 0.9 * Math.tanh(x) },
  IsNan: { types: [] }, IsInf: {}, IsFinite: {}, LogicalNot: { types: ['bool'] },
};

describe('one tensor, element by element, as the cpu backend has it', () => {
  it.each(Object.entries(UNARY))('%s', (name, { domain = (x) => x, attrs = {}, types = [], tolerance = {} }) => {
    for (const length of LENGTHS) {
      expectAsCpu(BACKEND, name, { x: floats([length], name, domain) }, attrs, tolerance);
      if (types.includes('int32')) expectAsCpu(BACKEND, name, { x: ints([length], name) }, attrs);
      if (types.includes('bool')) expectAsCpu(BACKEND, name, { x: bools([length], name) }, attrs);
    }
    expectAsCpu(BACKEND, name, { x: special }, attrs, { relative: 1e-5, ...tolerance });
    expectAsCpu(BACKEND, name, { x: floats([2, 0], name) }, attrs);
  });

  it.each(['float32', 'int32', 'bool'])('Cast to %s', (dtype) => {
    const wide: Operand = { shape: [7], dtype: 'float32', values: Float32Array.from([NaN, Infinity, 3e9, -3e9, 1.9, -1.9, 0]) };
    for (const x of [floats([50], 'cast', (v) => 99 * v), ints([50], 'cast'), bools([50], 'cast'), wide]) expectAsCpu(BACKEND, 'Cast', { x }, { dtype });
  });

  it('AddN', () => {
    for (const count of [1, 2, 5]) expectAsCpu(BACKEND, 'AddN', Array.from({ length: count }, (_, i) => floats([7, 3], `term ${i}`)));
    expectAsCpu(BACKEND, 'AddN', [ints([5], 'a'), ints([5], 'b')]);
  });
});

/** Pairs of shapes: equal, scalars, rows, columns, both ways, and mixed ranks. */
const PAIRS: readonly (readonly [readonly number[], readonly number[]])[] = [[[5], [5]], [[], []], [[], [17]], [[17], []], [[1], [33]], [[4, 5], [5]], [[5], [4, 5]], [[4, 5], [4, 1]], [[4, 1], [1, 5]], [[1, 70], [64, 70]], [[3, 1, 7], [3, 6, 1]], [[2, 3, 4, 5], [3, 1, 5]], [[2, 1, 3, 1, 2], [1, 4, 1, 5, 1]], [[300, 257], [257]], [[40, 257], [40, 1]], [[66_001], [66_001]], [[2, 0], [1]]];
const apart = (x: number): number => Math.sign(x) * (Math.abs(x) + 0.2);
const BINARY: Readonly<Record<string, { readonly a?: string; readonly b?: string; readonly mapA?: (x: number) => number; readonly mapB?: (x: number) => number }>> = {
  Add: {}, Sub: {}, Multiply: {}, RealDiv: { mapB: apart }, Maximum: {}, Minimum: {}, SquaredDifference: {}, Mod: { mapB: apart }, FloorDiv: { mapB: apart }, Pow: { mapA: Math.abs }, Atan2: {},
  Equal: { mapA: Math.round, mapB: Math.round }, NotEqual: { mapA: Math.round, mapB: Math.round }, Less: { mapA: Math.round, mapB: Math.round }, LessEqual: { mapA: Math.round, mapB: Math.round }, Greater: { mapA: Math.round, mapB: Math.round }, GreaterEqual: { mapA: Math.round, mapB: Math.round },
  Prelu: { a: 'x', b: 'alpha' },
};

describe('two tensors, element by element, as the cpu backend has it', () => {
  it.each(Object.entries(BINARY))('%s', (name, { a = 'a', b = 'b', mapA, mapB }) => {
    for (const [left, right] of PAIRS) {
      expectAsCpu(BACKEND, name, { [a]: floats(left, `${name} a`, mapA), [b]: floats(right, `${name} b`, mapB) });
      if (a === 'a') expectAsCpu(BACKEND, name, { a: ints(left, `${name} a`), b: ints(right, `${name} b`) });
    }
    expectAsCpu(BACKEND, name, { [a]: { ...special, shape: [SPECIAL.length, 1] }, [b]: special }, {}, { relative: 1e-5 });
    expectAsCpu(BACKEND, name, { [a]: special, [b]: { ...special, shape: [SPECIAL.length, 1] } }, {}, { relative: 1e-5 });
  });

  it.each(['Equal', 'NotEqual', 'Less', 'GreaterEqual', 'LogicalAnd', 'LogicalOr', 'Add'])('%s of booleans', (name) => {
    for (const [left, right] of PAIRS) expectAsCpu(BACKEND, name, { a: bools(left, `${name} a`), b: bools(right, `${name} b`) });
  });

  it('Pow by one whole number', () => {
    for (const power of [0, 1, 2, 3, -1, 0.5]) expectAsCpu(BACKEND, 'Pow', { a: floats([40], 'pow'), b: { shape: [], dtype: 'float32', values: Float32Array.of(power) } });
  });

  it('EluGrad', () => expectAsCpu(BACKEND, 'EluGrad', { dy: floats([7, 9], 'dy'), y: floats([7, 9], 'y', (x) => Math.max(x, Math.expm1(x))) }));
});

const SHAPES: readonly (readonly number[])[] = [[1], [7], [100_003], [5, 1], [4, 9], [1, 33], [3, 4, 5], [2, 70, 65], [300, 129], [3, 2, 1, 4], [2, 3, 2, 3, 2]];
const axesOf = (rank: number): number[][] => Array.from({ length: 2 ** rank }, (_, set) => Array.from({ length: rank }, (_unused, axis) => axis).filter((axis) => (set >> axis) & 1));

describe('reductions, as the cpu backend has them', () => {
  it.each(['Sum', 'Mean', 'Max', 'Min', 'Prod', 'All', 'Any'])('%s over every set of axes', (name) => {
    const key = name === 'Max' ? 'reductionIndices' : 'axis';
    for (const shape of SHAPES) {
      for (const axes of axesOf(shape.length)) {
        const attrs = { [key]: axes, keepDims: axes.length % 2 === 0 };
        const tolerance = { relative: 1e-5, absolute: name === 'Sum' ? 1e-3 : 1e-6 };
        if (name === 'All' || name === 'Any') {
          expectAsCpu(BACKEND, name, { x: bools(shape, name) }, attrs);
          continue;
        }
        expectAsCpu(BACKEND, name, { x: floats(shape, name, name === 'Prod' ? (x) => 1 + x / 1000 : undefined) }, attrs, { ...tolerance, ...(name === 'Prod' && { relative: 1e-3 }) });
        if (shape.length < 4 && name !== 'Prod') expectAsCpu(BACKEND, name, { x: ints(shape, name) }, attrs, tolerance);
        if (shape.length < 4 && name !== 'Prod') expectAsCpu(BACKEND, name, { x: bools(shape, name) }, attrs, tolerance);
      }
    }
    if (name !== 'All' && name !== 'Any') expectAsCpu(BACKEND, name, { x: floats([0, 3], name) }, { [key]: [0], keepDims: false });
  });

  it('a product of whole numbers', () => expectAsCpu(BACKEND, 'Prod', { x: ints([6, 4], 'prod', -3, 3) }, { axis: [0] }));

  it.each(['Max', 'Min'])('%s is NaN where one is among the numbers', (name) => {
    const x = floats([4, 50], name);
    x.values[57] = NaN;
    for (const axis of [0, 1]) expectAsCpu(BACKEND, name, { x }, { axis, reductionIndices: axis });
  });

  it.each(['ArgMax', 'ArgMin'])('%s is the first of equals, along every axis', (name) => {
    for (const shape of SHAPES) {
      for (const axis of shape.keys()) {
        expectAsCpu(BACKEND, name, { x: floats(shape, name, (x) => Math.round(3 * x)) }, { axis });
        expectAsCpu(BACKEND, name, { x: ints(shape, name) }, { axis });
      }
    }
    expectAsCpu(BACKEND, name, { x: special }, { axis: 0 });
  });

  it.each(['Cumsum', 'Cumprod'])('%s along every axis, both ways, exclusive or not', (name) => {
    for (const shape of [[7], [4, 9], [3, 4, 5], [1, 6]]) {
      for (const axis of shape.keys()) {
        for (const [exclusive, reverse] of [[false, false], [true, false], [false, true], [true, true]]) {
          expectAsCpu(BACKEND, name, { x: floats(shape, name) }, { axis, exclusive, reverse });
          expectAsCpu(BACKEND, name, { x: ints(shape, name, -2, 2) }, { axis, exclusive, reverse });
        }
      }
    }
  });

  it('Softmax', () => {
    for (const shape of SHAPES.slice(0, -1)) expectAsCpu(BACKEND, 'Softmax', { logits: floats(shape, 'softmax', (x) => 20 * x) }, { dim: shape.length - 1 }, { absolute: 1e-9, relative: 1e-5 });
    const masked = floats([3, 9], 'masked');
    masked.values.fill(-Infinity, 3, 9);
    masked.values.fill(-Infinity, 9, 18);
    expectAsCpu(BACKEND, 'Softmax', { logits: masked }, { dim: -1 });
    expect(() => tf.softmax(tf.zeros([2, 3]), 0)).toThrow('Softmax along a non-last dimension is not yet supported. Logits was rank 2 and dim was 0');
  });
});

const order = (...perm: number[]): readonly number[] => perm;
const ORDERS: readonly (readonly [readonly number[], readonly (readonly number[])[]])[] = [[[7], [[0]]], [[5, 9], [order(1, 0), order(0, 1)]], [[257, 130], [order(1, 0)]], [[33, 1, 17], [order(1, 0, 2), order(2, 1, 0)]], [[3, 20, 18], [order(0, 2, 1), order(1, 0, 2), order(2, 0, 1), order(1, 2, 0), order(2, 1, 0)]], [[2, 17, 3, 16], [order(0, 2, 1, 3), order(0, 1, 3, 2), order(3, 2, 1, 0), order(2, 3, 0, 1), order(1, 3, 0, 2)]], [[2, 3, 2, 3, 2], [order(4, 2, 0, 3, 1)]], [[2, 2, 3, 1, 2, 2], [order(5, 4, 3, 2, 1, 0)]]];
const typed = (shape: readonly number[], name: string): Operand[] => [floats(shape, name), ints(shape, name), bools(shape, name)];

const MOVES: Readonly<Record<string, readonly Case[]>> = {
  Transpose: ORDERS.flatMap(([shape, orders]) => orders.flatMap((perm) => typed(shape, 'transpose').map((x) => ({ operands: { x }, attrs: { perm } })))),
  Slice: [[[9], [2], [5]], [[6, 7], [1, 2], [3, 4]], [[6, 7], [2, 0], [3, 7]], [[6, 7], [0, 0], [6, 7]], [[4, 5, 6], [1, 1, 1], [-1, 2, -1]], [[3, 2, 4, 5], [0, 1, 2, 0], [3, 1, 2, 5]], [[6], [3], [0]], [[400, 300], [7, 5], [390, 290]]].flatMap(([shape, begin, size]) => typed(shape!, 'slice').map((x) => ({ operands: { x }, attrs: { begin, size } }))),
  StridedSlice: [[[9], [1], [9], [2]], [[9], [8], [0], [-3]], [[6, 7], [0, 6], [6, 0], [2, -2]], [[4, 5, 6], [0, 1, 5], [4, 5, 0], [1, 2, -1]]].flatMap(([shape, begin, end, strides]) => typed(shape!, 'strided').map((x) => ({ operands: { x }, attrs: { begin, end, strides, beginMask: 0, endMask: 0, ellipsisMask: 0, newAxisMask: 0, shrinkAxisMask: 0 } }))),
  Tile: [[[5], [3]], [[4, 3], [2, 1]], [[4, 3], [1, 5]], [[1, 3], [4, 2]], [[2, 1, 3], [2, 3, 2]], [[2, 2], [0, 1]]].flatMap(([shape, reps]) => typed(shape!, 'tile').map((x) => ({ operands: { x }, attrs: { reps } }))),
  Reverse: [[[7], [0]], [[4, 5], [0]], [[4, 5], [1]], [[4, 5], [0, 1]], [[3, 4, 5], [0, 2]], [[3, 4, 5], [1]]].flatMap(([shape, dims]) => typed(shape!, 'reverse').map((x) => ({ operands: { x }, attrs: { dims } }))),
  SplitV: [[[6, 4], 3, 0], [[6, 4], 2, 1], [[6, 4], [1, 2, 3], 0], [[2, 7, 3], [3, -1], 1]].flatMap(([shape, numOrSizeSplits, axis]) => typed(shape as number[], 'split').map((x) => ({ operands: { x }, attrs: { numOrSizeSplits, axis } }))),
  Unpack: [[[4], 0], [[3, 5], 0], [[3, 5], 1], [[2, 3, 4], -2]].flatMap(([shape, axis]) => typed(shape as number[], 'unpack').map((value) => ({ operands: { value }, attrs: { axis } }))),
  Concat: [[[[3], [4], [1]], 0], [[[2, 3], [4, 3]], 0], [[[2, 3], [2, 1], [2, 4]], 1], [[[2, 3, 2], [2, 5, 2]], -2], [[[0, 3], [2, 3]], 0], [[[0], [0]], 0], [[[300, 200], [300, 311]], 1], [[[90_000], [50_001]], 0]].flatMap(([shapes, axis]) => [floats, ints, bools].map((make) => ({ operands: (shapes as number[][]).map((shape, i) => make(shape, `part ${i}`)), attrs: { axis } }))),
  Pack: [[1, [3], 0], [2, [3], 1], [3, [2, 4], 1], [2, [2, 4], 2], [2, [], 0]].flatMap(([count, shape, axis]) => [floats, ints, bools].map((make) => ({ operands: Array.from({ length: count as number }, (_, i) => make(shape as number[], `part ${i}`)), attrs: { axis } }))),
  PadV2: [[[5], [[1, 2]]], [[3, 4], [[0, 0], [2, 1]]], [[3, 4], [[2, 1], [0, 0]]], [[2, 3, 4], [[1, 0], [0, 0], [0, 2]]], [[2, 3, 4], [[0, 0], [1, 1], [0, 0]]], [[3], [[0, 0]]], [[0, 2], [[1, 1], [0, 1]]]].flatMap(([shape, paddings]) => typed(shape as number[], 'pad').map((x) => ({ operands: { x }, attrs: { paddings, constantValue: x.dtype === 'bool' ? 1 : -3 } }))),
};

const indices = (shape: number[], below: number): Operand => ints(shape, 'indices', 0, below - 1);
const pairs = (count: number, rows: number, columns: number): Operand => {
  const made = ints([count, 2], 'pairs', 0, 1_000_000);
  return { ...made, values: made.values.map((value, i) => value % (i % 2 === 0 ? rows : columns)) };
};
const FACTORS: readonly (readonly [readonly number[], readonly number[], boolean, boolean])[] = [[[3, 4], [4, 5], false, false], [[4, 3], [4, 5], true, false], [[3, 4], [5, 4], false, true], [[2, 3, 4], [2, 4, 5], false, false], [[1, 3, 4], [6, 4, 5], false, false], [[2, 3, 4], [2, 5, 4], false, true]];
const gathered = (shape: number[], of: number[], axis: number, batchDims: number): Case[] => typed(shape, 'gather').map((x) => ({ operands: { x, indices: indices(of, shape[axis]!) }, attrs: { axis, batchDims } }));
const OTHERS: Readonly<Record<string, readonly Case[]>> = {
  GatherV2: [...gathered([5, 3], [4], 0, 0), ...gathered([5, 3], [2, 3], 1, 0), ...gathered([4, 6, 2], [4, 3], 1, 1), ...gathered([2, 3, 7, 2], [2, 3, 4], 2, 2), ...gathered([9], [0], 0, 0), ...gathered([700, 90], [900], 0, 0)],
  GatherNd: typed([5, 6, 3], 'gather').flatMap((params) => [{ operands: { params, indices: pairs(7, 5, 6) } }, { operands: { params, indices: indices([2, 4, 1], 5) } }]),
  ScatterNd: [{ operands: { indices: pairs(9, 4, 5), updates: floats([9, 3], 'updates') }, attrs: { shape: [4, 5, 3] } }, { operands: { indices: indices([6, 1], 4), updates: ints([6], 'updates') }, attrs: { shape: [4] } }],
  TensorScatterUpdate: [floats, ints].map((make) => ({ operands: { tensor: make([4, 5], 'tensor'), indices: indices([3, 1], 4), updates: make([3, 5], 'updates') }, attrs: {} })),
  UnsortedSegmentSum: [{ operands: { x: floats([9, 4], 'x'), segmentIds: ints([9], 'segments', -1, 5) }, attrs: { numSegments: 4 } }, { operands: { x: floats([70], 'x'), segmentIds: indices([70], 3) }, attrs: { numSegments: 3 } }, { operands: { x: ints([9, 4], 'x'), segmentIds: indices([9], 3) }, attrs: { numSegments: 3 } }],
  OneHot: ['float32', 'int32', 'bool'].map((dtype) => ({ operands: { indices: ints([7, 2], 'one-hot', -1, 6) }, attrs: { depth: 5, onValue: dtype === 'bool' ? 1 : 3, offValue: dtype === 'bool' ? 0 : -2, dtype } })),
  TopK: [[[9], 3], [[4, 20], 5], [[2, 3, 6], 6], [[5, 4], 1]].flatMap(([shape, k]) => [floats, ints].map((make) => ({ operands: { x: make(shape as number[], 'top') }, attrs: { k, sorted: true } }))),
  Select: [[7], [4, 9], [2, 3, 5], []].flatMap((shape) => typed(shape, 't').map((t, i) => ({ operands: { condition: bools(shape, 'condition'), t, e: typed(shape, 'e')[i]! } }))),
  Fill: [{ shape: [3, 2], value: 2.5 }, { shape: [5], value: 7, dtype: 'int32' }, { shape: [5], value: 1, dtype: 'bool' }, { shape: [0], value: 1, dtype: 'float32' }, { shape: [2], value: NaN, dtype: 'float32' }].map((attrs) => ({ operands: {}, attrs })),
  ZerosLike: typed([3, 5], 'like').map((x) => ({ operands: { x } })),
  OnesLike: typed([3, 5], 'like').map((x) => ({ operands: { x } })),
  BatchMatMul: FACTORS.map(([a, b, transposeA, transposeB]) => ({ operands: { a: floats(a, 'a'), b: floats(b, 'b') }, attrs: { transposeA, transposeB } })),
  _FusedMatMul: ['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'prelu', undefined].map((activation) => ({ operands: { a: floats([1, 3, 4], 'a'), b: floats([1, 4, 5], 'b'), bias: floats([5], 'bias'), ...(activation === 'prelu' && { preluActivationWeights: floats([5], 'weights') }) }, attrs: { transposeA: false, transposeB: false, activation, leakyreluAlpha: 0.1 } })),
  Einsum: [['ij,jk->ik', [3, 4], [4, 5]], ['ij,kj->ki', [3, 4], [5, 4]], ['bij,bjk->bik', [2, 3, 4], [2, 4, 5]], ['bhqd,bhkd->bhqk', [2, 2, 3, 4], [2, 2, 5, 4]], ['bqhd,bkhd->bhqk', [2, 3, 2, 4], [2, 5, 2, 4]], ['i,j->ij', [3], [4]], ['i,i->', [5], [5]], ['ij,jk->k', [3, 4], [4, 5]]].map(([equation, a, b]) => ({ operands: [floats(a as number[], 'a'), floats(b as number[], 'b')], attrs: { equation } })),
};

describe('elements moved, picked and filled in, as the cpu backend has it', () => {
  it.each(Object.entries({ ...MOVES, ...OTHERS }))('%s', (name, cases) => {
    for (const { operands, attrs, tolerance } of cases) expectAsCpu(BACKEND, name, operands, attrs, tolerance);
  });

  it('BatchMatMul of batches that broadcast both ways, where the cpu backend mixes them up', () => {
    const [a, b] = [tf.tensor(floats([2, 1, 3, 4], 'a').values, [2, 1, 3, 4]), tf.tensor(floats([1, 3, 4, 2], 'b').values, [1, 3, 4, 2])];
    const spelled = tf.matMul(tf.tile(a, [1, 3, 1, 1]), tf.tile(b, [2, 1, 1, 1]));
    const product = tf.matMul(a, b);
    expect(product.shape).toEqual([2, 3, 3, 2]);
    expect([...product.dataSync()]).toEqual([...spelled.dataSync()]);
  });

  it('BroadcastTo and LogSoftmax, which the cpu backend lacks, as tfjs composes them', () => {
    const x = tf.tensor2d(floats([4, 7], 'x').values, [4, 7]);
    const run = (name: string, inputs: Record<string, core.Tensor>, attrs: core.NamedAttrMap): core.Tensor => tf.engine().runKernel(name, inputs, attrs) as core.Tensor;
    expect(run('BroadcastTo', { x: tf.tensor2d([1, 2], [2, 1]) }, { shape: [3, 2, 2] }).arraySync()).toEqual([[[1, 1], [2, 2]], [[1, 1], [2, 2]], [[1, 1], [2, 2]]]);
    const [ours, theirs] = [run('LogSoftmax', { logits: x }, { axis: -1 }).dataSync(), tf.logSoftmax(x).dataSync()];
    theirs.forEach((value, i) => expect(ours[i]).toBeCloseTo(value, 5));
  });
});

describe('what is neither number nor truth', () => {
  it('complex tensors are added, turned by an FFT and back, and taken apart', () => {
    const x = tf.complex(tf.tensor1d([1, 2, 3, 4]), tf.tensor1d([0, -1, 0.5, 2]));
    const back = tf.ifft(tf.fft(x));
    [1, 2, 3, 4].forEach((value, i) => expect(tf.real(back).dataSync()[i]).toBeCloseTo(value, 5));
    [0, -1, 0.5, 2].forEach((value, i) => expect(tf.imag(back).dataSync()[i]).toBeCloseTo(value, 5));
    expect([...tf.add(x, x).dataSync()]).toEqual([2, 0, 4, -2, 6, 1, 8, 4]);
    expect([...tf.abs(tf.complex([3], [4])).dataSync()]).toEqual([5]);
    expect(tf.rfft(tf.tensor1d([1, 1, 1, 1])).shape).toEqual([3]);
    expect(tf.reshape(x, [2, 2]).shape).toEqual([2, 2]);
    expect(tf.real(tf.reshape(x, [2, 2])).arraySync()).toEqual([[1, 2], [3, 4]]);
  });

  it('strings are compared, cut and joined', () => {
    const x = tf.tensor1d(['a', 'bc', 'd'], 'string');
    expect([...tf.equal(x, tf.tensor1d(['a', 'b', 'd'], 'string')).dataSync()]).toEqual([1, 0, 1]);
    expect(tf.slice(x, [1], [2]).arraySync()).toEqual(['bc', 'd']);
    expect(tf.reshape(tf.concat([x, x]), [2, 3]).arraySync()).toEqual([['a', 'bc', 'd'], ['a', 'bc', 'd']]);
  });
});

describe('the registry', () => {
  const registered = (): Set<string> => new Set(tf.getKernelsForBackend(BACKEND).map(({ kernelName }) => kernelName));

  it('has every kernel of the cpu backend', () => {
    const names = tf.getKernelsForBackend('cpu').map(({ kernelName }) => kernelName);
    expect(names.length).toBeGreaterThan(160);
    expect(names.filter((name) => !registered().has(name))).toEqual([]);
  });

  it('has every kernel that tfjs has a gradient of', () => {
    const names = Object.values<unknown>(core).filter((name): name is string => typeof name === 'string' && core.getGradient(name) !== undefined);
    expect(names.length).toBeGreaterThan(100);
    expect(names.filter((name) => !registered().has(name))).toEqual([]);
  });

  it('compares every native kernel with the cpu backend above', () => {
    const compared = new Set([...Object.keys({ ...UNARY, ...BINARY, ...MOVES, ...OTHERS }), 'Cast', 'AddN', 'EluGrad', 'LogicalAnd', 'LogicalOr', 'Sum', 'Mean', 'Max', 'Min', 'Prod', 'All', 'Any', 'ArgMax', 'ArgMin', 'Cumsum', 'Cumprod', 'Softmax', 'LogSoftmax', 'BroadcastTo']);
    expect(Object.keys(nativeKernels).filter((name) => !compared.has(name))).toEqual([]);
  });

  it('has an operation of the addon for every native kernel', () => {
    const { native } = tf.backend() as unknown as { native: { has(name: string): boolean } };
    const composed = ['BatchMatMul', '_FusedMatMul', 'Einsum', 'Cast', 'Transpose', 'Slice', 'StridedSlice', 'Tile', 'BroadcastTo', 'Reverse', 'SplitV', 'Unpack', 'Pack', 'ZerosLike', 'OnesLike'];
    expect(Object.keys(nativeKernels).filter((name) => !composed.includes(name) && !['', 'Ints', 'Bools'].some((suffix) => native.has(name + suffix)))).toEqual([]);
  });
});
