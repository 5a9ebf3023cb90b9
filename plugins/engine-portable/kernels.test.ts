import { tf } from 'graft';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D, Variable } from '@tensorflow/tfjs-core';
import { valueAndGrads } from 'graft';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { expectFiniteDifferences, project, variable } from '../../test/support/gradients.ts';
import { startPortable } from './engine.ts';

beforeAll(async () => {
  await startPortable();
});
afterEach(() => tf.disposeVariables());

type Unary = (x: Tensor) => Tensor;
type Binary = (a: Tensor, b: Tensor) => Tensor;

/** Operations of x `[3, 4]`, whose values are kept between 0.2 and 1. */
const UNARY: Readonly<Record<string, Unary>> = {
  abs: tf.abs, acos: (x) => tf.acos(tf.mul(x, 0.8)), acosh: (x) => tf.acosh(tf.add(x, 1.5)), asin: (x) => tf.asin(tf.mul(x, 0.8)), asinh: tf.asinh, atan: tf.atan, atanh: (x) => tf.atanh(tf.mul(x, 0.8)),
  cos: tf.cos, cosh: tf.cosh, elu: tf.elu, erf: tf.erf, exp: tf.exp, expm1: tf.expm1, leakyRelu: (x) => tf.leakyRelu(tf.sub(x, 0.55)), log: tf.log, log1p: tf.log1p, logSigmoid: tf.logSigmoid,
  neg: tf.neg, reciprocal: tf.reciprocal, relu: (x) => tf.relu(tf.sub(x, 0.55)), relu6: (x) => tf.relu6(tf.sub(x, 0.55)), rsqrt: tf.rsqrt, selu: tf.selu, sigmoid: tf.sigmoid, sin: tf.sin, sinh: tf.sinh,
  softplus: tf.softplus, sqrt: tf.sqrt, square: tf.square, tan: tf.tan, tanh: tf.tanh,
  clipByValue: (x) => tf.clipByValue(x, 0.3, 0.9), cast: (x) => tf.cast(x, 'float32'), clone: tf.clone, stopped: (x) => tf.mul(x, tf.cast(tf.cast(x, 'int32'), 'float32')),
  sum: (x) => tf.sum(x, 1), sumAll: (x) => tf.sum(x), mean: (x) => tf.mean(x, 0), max: (x) => tf.max(x, 1), min: (x) => tf.min(x, 1), prod: (x) => tf.prod(x, 1), logSumExp: (x) => tf.logSumExp(x, 1), norm: (x) => tf.norm(x), euclidean: (x) => tf.norm(x, 2, 1),
  moments: (x) => tf.moments(x, 1).variance, cumsum: (x) => tf.cumsum(x, 1), cumsumReverse: (x) => tf.cumsum(x, 1, true, true), softmax: (x) => tf.softmax(x), logSoftmax: (x) => tf.logSoftmax(x),
  reshape: (x) => tf.reshape(x, [4, 3]), transpose: (x) => tf.transpose(x), transpose3: (x) => tf.transpose(tf.reshape(x, [3, 2, 2]), [2, 0, 1]), expandDims: (x) => tf.expandDims(x, 1), squeeze: (x) => tf.squeeze(tf.expandDims(x)),
  slice: (x) => tf.slice(x, [1, 1], [2, 2]), gather: (x) => tf.gather(x, tf.tensor1d([2, 0, 2], 'int32')), gatherColumns: (x) => tf.gather(x, tf.tensor1d([3, 3, 0], 'int32'), 1), gatherND: (x) => tf.gatherND(x, tf.tensor2d([0, 1, 2, 2], [2, 2], 'int32')),
  tile: (x) => tf.tile(x, [2, 3]), pad: (x) => tf.pad(x as Tensor2D, [[1, 0], [0, 2]]), reverse: (x) => tf.reverse(x, 1), broadcastTo: (x) => tf.broadcastTo(tf.expandDims(x), [2, 3, 4]),
  split: (x) => tf.split(x, 2, 1)[1]!, splitUneven: (x) => tf.split(x, [1, 3], 1)[1]!, unstack: (x) => tf.unstack(x, 1)[2]!, unstackOne: (x) => tf.unstack(tf.expandDims(x))[0]!, splitOne: (x) => tf.split(x, 1)[0]!, stack: (x) => tf.stack([x, x], 1), concat: (x) => tf.concat([x, tf.square(x)], 1), topk: (x) => tf.topk(x, 2).values,
  bandPart: (x) => tf.linalg.bandPart(x, 1, 0), depthwise: (x) => tf.depthwiseConv2d(tf.reshape(x, [1, 3, 4, 1]) as Tensor4D, tf.ones([2, 2, 1, 1]), 1, 'valid'), conv1d: (x) => tf.conv1d(tf.reshape(x, [1, 6, 2]) as Tensor3D, tf.ones([2, 2, 3]), 1, 'same'), conv2d: (x) => tf.conv2d(tf.reshape(x, [1, 3, 4, 1]) as Tensor4D, tf.ones([2, 2, 1, 2]), 1, 'same'),
  maxPool: (x) => tf.maxPool(tf.reshape(x, [1, 3, 4, 1]) as Tensor4D, 2, 1, 'valid'), avgPool: (x) => tf.avgPool(tf.reshape(x, [1, 3, 4, 1]) as Tensor4D, 2, 1, 'valid'), batchToSpace: (x) => tf.batchToSpaceND(tf.reshape(x, [4, 1, 3, 1]) as Tensor4D, [2, 2], [[0, 0], [0, 0]]),
  localResponse: (x) => tf.localResponseNormalization(tf.reshape(x, [1, 1, 3, 4]) as Tensor4D, 1), segmentSum: (x) => tf.unsortedSegmentSum(x, tf.tensor1d([1, 0, 1], 'int32'), 2), einsum: (x) => tf.einsum('ij->ji', x), einsumPair: (x) => tf.einsum('ij,kj->ik', x, x),
  dropout: (x) => tf.dropout(x, 0.5, undefined, 7), layerNorm: (x) => tf.div(tf.sub(x, tf.mean(x, 1, true)), tf.sqrt(tf.add(tf.moments(x, 1, true).variance, 1e-3))), floorIsFlat: (x) => tf.add(x, tf.floor(x)), roundIsFlat: (x) => tf.add(x, tf.round(x)), signIsFlat: (x) => tf.mul(x, tf.sign(x)), ceilIsFlat: (x) => tf.mul(x, tf.ceil(x)),
};

/** Operations of a and b `[3, 4]`, between 0.2 and 1 both. */
const BINARY: Readonly<Record<string, Binary>> = {
  add: tf.add, addN: (a, b) => tf.addN([a, b, a]), atan2: tf.atan2, div: tf.div, divNoNan: tf.divNoNan, maximum: tf.maximum, minimum: tf.minimum, mod: (a, b) => tf.mod(a, tf.add(b, 2)), mul: tf.mul, pow: tf.pow, squaredDifference: tf.squaredDifference, sub: tf.sub,
  prelu: (a, b) => tf.prelu(tf.sub(a, 0.55), b), where: (a, b) => tf.where(tf.greater(a, 0.5), a, b), whereBroadcast: (a, b) => tf.where(tf.greater(tf.slice(a, [0, 0], [1, 4]), 0.5), tf.mul(a, 2), b),
  matMul: (a, b) => tf.matMul(a as Tensor2D, tf.transpose(b) as Tensor2D), matMulFlags: (a, b) => tf.matMul(a as Tensor2D, b as Tensor2D, true, false), matMulBatched: (a, b) => tf.matMul(tf.reshape(a, [3, 2, 2]), tf.reshape(b, [3, 2, 2]), false, true), dot: (a, b) => tf.dot(tf.reshape(a, [12]), tf.reshape(b, [12])), outer: (a, b) => tf.outerProduct(tf.reshape(a, [12]), tf.reshape(b, [12])),
  broadcastRow: (a, b) => tf.mul(a, tf.slice(b, [0, 0], [1, 4])), broadcastColumn: (a, b) => tf.add(a, tf.slice(b, [0, 0], [3, 1])), meanSquared: (a, b) => tf.losses.meanSquaredError(a, b), cosine: (a, b) => tf.losses.cosineDistance(a, b, 1), huber: (a, b) => tf.losses.huberLoss(a, b), sigmoidCrossEntropy: (a, b) => tf.losses.sigmoidCrossEntropy(tf.stack([tf.tensor1d([0, 1, 1, 0])]), tf.slice(tf.sub(a, b), [0, 0], [1, 4])),
  scatterND: (a, b) => tf.add(tf.scatterND(tf.tensor2d([2, 0, 2], [3, 1], 'int32'), a, [3, 4]), b),
};

/** What has no gradient, and is used beside what has. */
const FORWARD: Readonly<Record<string, Unary>> = {
  argMax: (x) => tf.argMax(x, 1), argMin: (x) => tf.argMin(x, 1), all: (x) => tf.all(tf.greater(x, 0)), any: (x) => tf.any(tf.less(x, 0.3)), equal: (x) => tf.equal(x, x), notEqual: (x) => tf.notEqual(x, x), lessEqual: (x) => tf.lessEqual(x, 0.5), greaterEqual: (x) => tf.greaterEqual(x, 0.5), logicalAnd: (x) => tf.logicalAnd(tf.greater(x, 0), tf.less(x, 1)), logicalOr: (x) => tf.logicalOr(tf.greater(x, 0), tf.less(x, 1)), logicalXor: (x) => tf.logicalXor(tf.greater(x, 0), tf.less(x, 1)), logicalNot: (x) => tf.logicalNot(tf.greater(x, 0)),
  isNaN: (x) => tf.isNaN(x), isInf: (x) => tf.isInf(x), isFinite: (x) => tf.isFinite(x), floorDiv: (x) => tf.floorDiv(x, 0.3), oneHot: (x) => tf.oneHot(tf.cast(tf.reshape(x, [12]), 'int32'), 3), range: () => tf.range(0, 5), linspace: () => tf.linspace(0, 1, 5), eye: () => tf.eye(3), fill: () => tf.fill([2, 2], 3), bincount: (x) => tf.bincount(tf.cast(tf.reshape(x, [12]), 'int32') as Tensor1D, [], 3), unique: (x) => tf.unique(tf.round(tf.reshape(x, [12]) as Tensor1D)).values, cumprod: (x) => tf.cumprod(x, 1), diag: (x) => tf.diag(x), stridedSlice: (x) => tf.stridedSlice(x, [0, 0], [3, 4], [2, 2]), tensorScatterUpdate: (x) => tf.tensorScatterUpdate(x, tf.tensor2d([1], [1, 1], 'int32'), tf.zeros([1, 4])), sparseToDense: () => tf.sparseToDense(tf.tensor1d([1], 'int32'), tf.tensor1d([2]), [3], 0), searchSorted: () => tf.searchSorted(tf.tensor1d([1, 2, 3]), tf.tensor1d([2.5])), qr: (x) => tf.linalg.qr(tf.transpose(x) as Tensor2D)[0], intAdd: (x) => tf.add(tf.cast(x, 'int32'), 1), intSum: (x) => tf.sum(tf.cast(tf.greater(x, 0.5), 'int32')), intMatrixGather: (x) => tf.gather(tf.cast(tf.mul(x, 9), 'int32'), tf.tensor1d([0, 2], 'int32')), boolSlice: (x) => tf.slice(tf.greater(x, 0.5), [0, 0], [1, 2]), boolConcat: (x) => tf.concat([tf.greater(x, 0.5), tf.less(x, 0.5)]), intTranspose: (x) => tf.transpose(tf.cast(tf.mul(x, 9), 'int32')),
};

/** Values between 0.2 and 1, none within 0.01 of another's and of the thresholds above. */
function between(name: string, from = 0.213): Variable & Tensor {
  const v = variable([3, 4], name);
  const order = [...v.dataSync()].map((value, i) => [value, i] as const).sort(([a], [b]) => a - b);
  const values = new Float32Array(12);
  order.forEach(([, i], rank) => (values[i] = from + rank * 0.067));
  v.assign(tf.tensor2d(values, [3, 4]));
  return v;
}

describe('every operation that a strategy may use runs on the portable engine', () => {
  it.each(Object.entries(UNARY))('%s, with a gradient that agrees with finite differences', (_, operation) => {
    const x = between('x');
    expectFiniteDifferences(() => operation(x), [x], { step: 2e-3, tolerance: 2e-2 });
  });

  it.each(Object.entries(BINARY))('%s, with gradients that agree with finite differences', (_, operation) => {
    const [a, b] = [between('a'), between('b', 0.24)];
    expectFiniteDifferences(() => operation(a, b), [a, b], { step: 2e-3, tolerance: 2e-2 });
  });

  it.each(Object.entries(FORWARD))('%s gives what the cpu backend gives', async (_, operation) => {
    const x = tf.tensor2d(between('x').dataSync().slice(), [3, 4]);
    const ours = operation(x);
    const [values, shape] = [[...ours.dataSync()], ours.shape];
    await tf.setBackend('cpu');
    try {
      const theirs = operation(tf.tensor2d(x.dataSync().slice(), [3, 4]));
      expect(shape).toEqual(theirs.shape);
      [...theirs.dataSync()].forEach((value, i) => expect(values[i]).toBeCloseTo(value, 5));
    } finally {
      await tf.setBackend('wasm');
    }
  });
});

describe('the replaced kernels', () => {
  it('share memory between a tensor and its clone, and keep it until both are disposed', () => {
    const x = tf.tensor1d([1, 2, 3]);
    const buffers = tf.memory().numDataBuffers;
    const y = tf.clone(x);
    expect(tf.memory().numDataBuffers).toBe(buffers);
    x.dispose();
    expect([...y.dataSync()]).toEqual([1, 2, 3]);
    y.dispose();
    expect(tf.memory().numDataBuffers).toBe(buffers - 1);
  });

  it.each([[1, 1], [4, 4], [5, 7], [8, 3], [13, 64]])('transpose [%i, %i]', (rows, columns) => {
    const x = tf.reshape(tf.range(0, rows * columns), [rows, columns]) as Tensor2D;
    const y = tf.transpose(x).arraySync() as number[][];
    (x.arraySync() as number[][]).forEach((row, i) => row.forEach((value, j) => expect(y[j]![i]).toBe(value)));
  });

  it('gather rows, and refuse a row that is not there', () => {
    const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
    expect(tf.gather(x, tf.tensor1d([2, 0, 2], 'int32')).arraySync()).toEqual([[5, 6], [1, 2], [5, 6]]);
    expect(() => tf.gather(x, tf.tensor1d([3], 'int32'))).toThrow('GatherV2: the index value 3 is not in [0, 2]');
  });
});

it('computes the same bits again', () => {
  const run = () => {
    const w = tf.variable(tf.randomNormal([64, 96], 0, 1, 'float32', 3) as Tensor2D);
    const x = tf.randomNormal([300, 96], 0, 1, 'float32', 4) as Tensor2D;
    const { value, grads } = valueAndGrads(() => project(tf.softmax(tf.matMul(x, tf.transpose(w)))), [w]);
    return [value.dataSync()[0], ...grads[0]!.dataSync()];
  };
  expect(run()).toEqual(run());
});

it('says that memory is full, and computes right afterwards', () => {
  const held: Tensor[] = [];
  const fill = () => {
    for (let i = 0; i < 8; i++) held.push(memoryOnly([1024, 1024, 256]));
  };
  expect(fill).toThrow('There is no room for 1024 MiB more in WebAssembly\'s memory, which holds 4 GiB at most.');
  tf.dispose(held);
  expect([...tf.add(tf.tensor1d([1, 2]), 3).dataSync()]).toEqual([4, 5]);
});

/** A tensor that is reserved and never written, so that the test touches none of its pages. */
function memoryOnly(shape: number[]): Tensor {
  const backend = tf.backend() as unknown as { makeOutput(shape: number[], dtype: string): object };
  const engine = tf.engine() as unknown as { makeTensorFromTensorInfo(info: object, backend: object): Tensor };
  return engine.makeTensorFromTensorInfo(backend.makeOutput(shape, 'float32'), backend);
}
