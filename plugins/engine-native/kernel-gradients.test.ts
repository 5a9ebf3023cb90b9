import { tf, valueAndGrads } from 'graft';
import type { Rank, Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D, Variable } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { floats } from '../../test/support/kernels.ts';
import { BACKEND } from './backend.ts';
import { startNative } from './engine.ts';

beforeAll(async () => {
  await startNative();
});

/** Of a and b `[4, 6]`, normal numbers both, none within 0.05 of 0. */
type Operation = (a: Tensor2D, b: Tensor2D) => Tensor;

const positive = (x: Tensor): Tensor => tf.add(tf.abs(x), 0.5);
const images = (x: Tensor): Tensor4D => tf.reshape(x, [1, 4, 6, 1]);
const indices = (...values: number[]): Tensor1D => tf.tensor1d(values, 'int32');

const OPERATIONS: Readonly<Record<string, Operation>> = {
  abs: tf.abs, acos: (a) => tf.acos(tf.mul(0.9, tf.tanh(a))), acosh: (a) => tf.acosh(tf.add(positive(a), 1)), asin: (a) => tf.asin(tf.mul(0.9, tf.tanh(a))), asinh: tf.asinh, atan: tf.atan, atanh: (a) => tf.atanh(tf.mul(0.9, tf.tanh(a))),
  cos: tf.cos, cosh: tf.cosh, elu: tf.elu, erf: tf.erf, exp: tf.exp, expm1: tf.expm1, leakyRelu: (a) => tf.leakyRelu(a, 0.1), log: (a) => tf.log(positive(a)), log1p: (a) => tf.log1p(positive(a)), logSigmoid: tf.logSigmoid, neg: tf.neg, reciprocal: (a) => tf.reciprocal(positive(a)), relu: tf.relu, relu6: tf.relu6, rsqrt: (a) => tf.rsqrt(positive(a)),
  selu: tf.selu, sigmoid: tf.sigmoid, sin: tf.sin, sinh: tf.sinh, softplus: tf.softplus, sqrt: (a) => tf.sqrt(positive(a)), square: tf.square, step: (a) => tf.mul(a, tf.step(a, 0.5)), tan: (a) => tf.tan(tf.tanh(a)), tanh: tf.tanh, clip: (a) => tf.clipByValue(a, -0.7, 0.9),
  ceil: (a) => tf.mul(a, tf.ceil(a)), floor: (a) => tf.mul(a, tf.floor(a)), round: (a) => tf.mul(a, tf.round(a)), sign: (a) => tf.mul(a, tf.sign(a)), cast: (a) => tf.mul(a, tf.cast(tf.cast(a, 'int32'), 'float32')),
  add: tf.add, addRow: (a, b) => tf.add(a, tf.slice(b, [1, 0], [1, 6])), addColumn: (a, b) => tf.add(a, tf.slice(b, [0, 1], [4, 1])), addScalar: (a, b) => tf.add(a, tf.max(b)), sub: tf.sub, subOuter: (a, b) => tf.sub(tf.slice(a, [0, 0], [4, 1]), tf.slice(b, [0, 0], [1, 6])), mul: tf.mul, mulRow: (a, b) => tf.mul(a, tf.slice(b, [1, 0], [1, 6])), div: (a, b) => tf.div(a, positive(b)), divRow: (a, b) => tf.div(tf.slice(a, [0, 0], [1, 6]), positive(b)), divNoNan: (a, b) => tf.divNoNan(a, positive(b)),
  addN: (a, b) => tf.addN([a, b, a]), maximum: tf.maximum, minimum: tf.minimum, mod: (a, b) => tf.mod(a, tf.add(positive(b), 5)), floorDiv: (a, b) => tf.mul(a, tf.cast(tf.floorDiv(a, positive(b)), 'float32')), pow: (a, b) => tf.pow(positive(a), b), cube: (a) => tf.pow(a, 3), squaredDifference: tf.squaredDifference, atan2: tf.atan2, prelu: tf.prelu, where: (a, b) => tf.where(tf.greater(a, 0), a, b), whereRow: (a, b) => tf.where(tf.greater(tf.slice(a, [0, 0], [1, 6]), 0), tf.mul(a, 2), b),
  sum: (a) => tf.sum(a, 1), sumAll: (a) => tf.sum(a), mean: (a) => tf.mean(a, 0), max: (a) => tf.max(a, 1), min: (a) => tf.min(a, 0), prod: (a) => tf.prod(positive(a), 1), logSumExp: (a) => tf.logSumExp(a, 1), norm: (a) => tf.norm(a, 2, 1), moments: (a) => tf.moments(a, 1).variance, cumsum: (a) => tf.cumsum(a, 1), cumsumReverse: (a) => tf.cumsum(a, 1, true, true), softmax: (a) => tf.softmax(a), logSoftmax: (a) => tf.logSoftmax(a),
  matMul: (a, b) => tf.matMul(a, b, false, true), matMulLeft: (a, b) => tf.matMul(a, b, true, false), matMulBatched: (a, b) => tf.matMul(tf.reshape(a, [2, 3, 4]) as Tensor3D, tf.reshape(b, [2, 4, 3]) as Tensor3D), fusedMatMul: (a, b) => tf.fused.matMul({ a, b, transposeB: true, bias: tf.slice(tf.reshape(b, [24]), [0], [4]), activation: 'relu' }), dot: (a, b) => tf.dot(tf.reshape(a, [24]), tf.reshape(b, [24])), outer: (a, b) => tf.outerProduct(tf.reshape(a, [24]), tf.reshape(b, [24])), einsum: (a, b) => tf.einsum('ij,kj->ki', a, b), einsumOne: (a) => tf.einsum('ij->ji', a),
  reshape: (a) => tf.reshape(a, [3, 8]), transpose: (a) => tf.transpose(a), transpose3: (a) => tf.transpose(tf.reshape(a, [2, 3, 4]), [2, 0, 1]), expandDims: (a) => tf.squeeze(tf.expandDims(a, 1)), slice: (a) => tf.slice(a, [1, 2], [2, 3]), gather: (a) => tf.gather(a, indices(2, 0, 2)), gatherColumns: (a) => tf.gather(a, indices(3, 3, 0), 1), gatherND: (a) => tf.gatherND(a, tf.tensor2d([0, 1, 2, 2], [2, 2], 'int32')), scatterND: (a) => tf.scatterND(tf.tensor2d([3, 0, 3, 1], [4, 1], 'int32'), a, [5, 6]), segmentSum: (a) => tf.unsortedSegmentSum(a, indices(1, 0, 1, 1), 2),
  tile: (a) => tf.tile(a, [2, 3]), pad: (a) => tf.pad(a, [[1, 0], [0, 2]]), mirrorPad: (a) => tf.mirrorPad(a, [[1, 1], [2, 0]], 'reflect'), reverse: (a) => tf.reverse(a, 1), broadcastTo: (a) => tf.broadcastTo(tf.expandDims(a), [2, 4, 6]), split: (a) => tf.split(a, [1, 5], 1)[1]!, unstack: (a) => tf.unstack(a, 1)[2]!, stack: (a, b) => tf.stack([a, b], 1), concat: (a, b) => tf.concat([a, b, a], 1), topk: (a) => tf.topk(a, 2).values, oneHot: (a) => tf.mul(a, tf.cast(tf.oneHot(tf.argMax(a, 1), 6), 'float32')),
  conv2d: (a, b) => tf.conv2d(images(a), tf.reshape(tf.slice(b, [0, 0], [2, 2]), [2, 2, 1, 1]) as Tensor4D, 1, 'same'), depthwise: (a) => tf.depthwiseConv2d(images(a), tf.ones([2, 2, 1, 1]), 1, 'valid'), maxPool: (a) => tf.maxPool(images(a), 2, 1, 'valid'), avgPool: (a) => tf.avgPool(images(a), 2, 1, 'valid'), batchNorm: (a) => tf.batchNorm(a, tf.zeros([6]) as Tensor1D, tf.ones([6]) as Tensor1D, tf.zeros([6]) as Tensor1D, tf.ones([6]) as Tensor1D), resize: (a) => tf.image.resizeBilinear(tf.reshape(tf.slice(a, [0, 0], [4, 4]), [1, 4, 4, 1]) as Tensor4D, [3, 3]), lrn: (a) => tf.localResponseNormalization(images(a), 1),
  huber: (a, b) => tf.losses.huberLoss(a, b), cosine: (a, b) => tf.losses.cosineDistance(a, b, 1), crossEntropy: (a, b) => tf.losses.softmaxCrossEntropy(tf.softmax(b), a),
};

interface Computed {
  readonly values: Float32Array[];
  readonly shapes: number[][];
}

/** The result, and gradients of its product with a fixed tensor. */
function computed(operation: Operation): Computed {
  const apart = (x: number): number => Math.sign(x) * (Math.abs(x) + 0.05);
  const of = (name: string): Variable<Rank.R2> => tf.variable(tf.tensor2d(floats([4, 6], name, apart).values, [4, 6]));
  const [a, b] = [of('a'), of('b')];
  const y = tf.tidy(() => operation(a, b));
  const { grads } = valueAndGrads(() => tf.sum(tf.mul(operation(a, b), tf.tensor(floats(y.shape, 'weights').values, y.shape))), [a, b]);
  const all = [y, ...grads];
  const result = { values: all.map((tensor) => tensor.dataSync().slice() as Float32Array), shapes: all.map(({ shape }) => shape) };
  tf.dispose([...all, a, b]);
  return result;
}

describe('gradients are the cpu backend\'s', () => {
  it.each(Object.entries(OPERATIONS))('%s', async (_, operation) => {
    const ours = computed(operation);
    await tf.setBackend('cpu');
    try {
      const theirs = computed(operation);
      expect(ours.shapes).toEqual(theirs.shapes);
      theirs.values.forEach((values, which) => values.forEach((value, i) => expect(Math.abs(ours.values[which]![i]! - value), `${['the value', 'of a', 'of b'][which]!}, element ${i}: ${value}`).toBeLessThan(2e-5 * Math.max(1, Math.abs(value)))));
    } finally {
      await tf.setBackend(BACKEND);
    }
  });
});
