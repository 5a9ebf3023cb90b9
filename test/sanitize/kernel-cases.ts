/** Random calls of tfjs's own operations: whatever kernels stand behind them. */
import { tf, type Rng } from '../../core/index.ts';
import type { Tensor } from '@tensorflow/tfjs-core';
import { chance, input, type Call, type Input } from './cases.ts';

const UNARY = 'abs,ceil,cos,elu,erf,exp,expm1,floor,isNaN,leakyRelu,neg,reciprocal,relu,relu6,round,selu,sigmoid,sign,sin,softplus,square,step,tanh,tan,zerosLike,onesLike,atan'.split(',');
const POSITIVE = 'log,log1p,rsqrt,sqrt'.split(',');
const BINARY = 'add,sub,mul,div,maximum,minimum,squaredDifference,greater,greaterEqual,less,lessEqual,equal,notEqual,divNoNan'.split(',');
const REDUCTIONS = 'sum,mean,max,min,prod,logSumExp'.split(',');
const LAST_AXIS = 'softmax,logSoftmax,argMax,argMin,cumsum'.split(',');

type Unary = (x: Tensor) => Tensor;
const named = tf as unknown as Readonly<Record<string, (...args: unknown[]) => Tensor>>;

/** Sizes of 0 and 1 are as likely as others. */
const shapeOf = (random: Rng, rank = 1 + random.integer(4)): number[] => Array.from({ length: rank }, () => (chance(random, 12) ? 0 : chance(random, 4) ? 1 : 2 + random.integer(rank > 2 ? 9 : 40)));
const pick = <T>(random: Rng, from: readonly T[]): T => from[random.integer(from.length)]!;
const dtypeOf = (random: Rng): 'float32' | 'int32' | 'bool' => pick(random, ['float32', 'float32', 'int32', 'bool'] as const);

const call = (label: string, inputs: Readonly<Record<string, Input>>, apply: (t: Readonly<Record<string, Tensor>>) => Tensor): Call => ({ label, inputs, tolerance: 2e-4, apply: ({ tensors }) => apply(tensors) });

const onOne = (random: Rng, label: string, shape: readonly number[], apply: Unary): Call => call(`${label} of [${shape.join(', ')}]`, { x: input(random, shape) }, ({ x }) => apply(x!));

/** Each dimension of a shape as it is, or 1, and perhaps fewer of them. */
const broadcast = (random: Rng, shape: readonly number[]): number[] => shape.map((n) => (chance(random, 3) ? 1 : n)).slice(random.integer(shape.length));

const MAKERS: readonly ((random: Rng) => Call)[] = [
  (random) => {
    const name = pick(random, UNARY);
    return onOne(random, name, shapeOf(random), (x) => named[name]!(x));
  },
  (random) => {
    const name = pick(random, POSITIVE);
    return onOne(random, name, shapeOf(random), (x) => named[name]!(tf.add(tf.abs(x), 0.1)));
  },
  (random) => {
    const name = pick(random, BINARY);
    const a = shapeOf(random);
    const b = broadcast(random, a);
    const inputs = { a: input(random, a), b: input(random, b) };
    // Away from 0, where a quotient's gradient is anything.
    return call(`${name} of [${a.join(', ')}] and [${b.join(', ')}]`, inputs, (t) => named[name]!(t['a'], name.startsWith('div') ? tf.add(tf.abs(t['b']!), 0.5) : t['b']));
  },
  (random) => {
    const name = pick(random, REDUCTIONS);
    const shape = shapeOf(random);
    const axes = shape.map((_, i) => i).filter(() => chance(random, 2));
    const keep = chance(random, 2);
    return onOne(random, `${name} over [${axes.join(', ')}]`, shape, (x) => named[name]!(x, axes, keep));
  },
  (random) => {
    const name = pick(random, LAST_AXIS);
    return onOne(random, name, shapeOf(random).map((n) => Math.max(1, n)), (x) => named[name]!(x, -1));
  },
  (random) => {
    const shape = shapeOf(random);
    const permutation = random.shuffle(shape.map((_, i) => i));
    return onOne(random, `transpose by [${permutation.join(', ')}]`, shape, (x) => tf.transpose(x, permutation));
  },
  (random) => {
    const shape = shapeOf(random);
    const begin = shape.map((n) => random.integer(n + 1));
    const size = shape.map((n, i) => random.integer(n - begin[i]! + 1));
    return onOne(random, `slice at [${begin.join(', ')}] of [${size.join(', ')}]`, shape, (x) => tf.slice(x, begin, size));
  },
  (random) => {
    const shape = shapeOf(random);
    const axis = random.integer(shape.length);
    const other = shape.map((n, i) => (i === axis ? random.integer(9) : n));
    return call(`concat of [${shape.join(', ')}] and [${other.join(', ')}]`, { a: input(random, shape), b: input(random, other) }, (t) => tf.concat([t['a']!, t['b']!, t['a']!], axis));
  },
  (random) => {
    const shape = shapeOf(random, 1 + random.integer(3));
    const pads = shape.map(() => [random.integer(3), random.integer(3)] as [number, number]);
    const constant = random.integer(2);
    return onOne(random, `pad by ${JSON.stringify(pads)}`, shape, (x) => tf.pad(x, pads, constant));
  },
  (random) => {
    const shape = shapeOf(random, 1 + random.integer(3));
    const times = shape.map(() => 1 + random.integer(3));
    return onOne(random, `tile by [${times.join(', ')}]`, shape, (x) => tf.tile(x, times));
  },
  (random) => {
    const shape = shapeOf(random).map((n) => Math.max(1, n));
    const axis = random.integer(shape.length);
    const indices = Int32Array.from({ length: random.integer(12) }, () => random.integer(shape[axis]!));
    return onOne(random, `gather of ${indices.length} along ${axis}`, shape, (x) => tf.gather(x, tf.tensor1d(indices, 'int32'), axis));
  },
  (random) => {
    const [m, k, n, batches] = [1 + random.integer(40), 1 + random.integer(40), 1 + random.integer(40), 1 + random.integer(3)];
    const [ta, tb] = [chance(random, 2), chance(random, 2)];
    const [a, b] = [ta ? [batches, k, m] : [batches, m, k], tb ? [chance(random, 2) ? 1 : batches, n, k] : [batches, k, n]];
    return call(`matMul of [${a.join(', ')}] (${ta}) and [${b.join(', ')}] (${tb})`, { a: input(random, a), b: input(random, b) }, (t) => tf.matMul(t['a']!, t['b']!, ta, tb));
  },
  (random) => {
    const shape = shapeOf(random);
    const inputs = { c: input(random, shape, { trained: false }), a: input(random, shape), b: input(random, shape) };
    return call(`where of [${shape.join(', ')}]`, inputs, (t) => tf.where(tf.greater(t['c']!, 0), t['a']!, t['b']!));
  },
  (random) => {
    const [from, to] = [dtypeOf(random), dtypeOf(random)];
    return onOne(random, `cast from ${from} to ${to}`, shapeOf(random), (x) => tf.cast(tf.cast(tf.mul(x, 10), from), to));
  },
  (random) => {
    const name = pick(random, ['add', 'sub', 'mul', 'maximum', 'minimum', 'floorDiv', 'mod']);
    return onOne(random, `${name} in int32`, shapeOf(random), (x) => named[name]!(tf.cast(tf.mul(x, 100), 'int32'), tf.scalar(7, 'int32')));
  },
  (random) => {
    const [least, most] = [-random.uniform(), random.uniform()];
    return onOne(random, 'clip', shapeOf(random), (x) => tf.clipByValue(x, least, most));
  },
  (random) => {
    const [count, depth] = [random.integer(20), 1 + random.integer(30)];
    const indices = Int32Array.from({ length: count }, () => random.integer(depth));
    return onOne(random, `oneHot of ${count} in ${depth}`, [depth], (x) => tf.mul(tf.cast(tf.oneHot(tf.tensor1d(indices, 'int32'), depth), 'float32'), x));
  },
  (random) => {
    const shape = shapeOf(random, 1 + random.integer(3));
    const axis = random.integer(shape.length + 1);
    return onOne(random, `unstack, and stack along ${axis},`, [3, ...shape], (x) => tf.stack(tf.unstack(x).reverse(), axis));
  },
  (random) => {
    const [parts, each] = [1 + random.integer(4), 1 + random.integer(9)];
    return onOne(random, `split into ${parts}`, [3, parts * each], (x) => tf.concat(tf.split(x, parts, 1).reverse(), 0));
  },
  (random) => {
    const exponent = pick(random, [2, 3, 0.5, -1]);
    return onOne(random, `pow ${exponent}`, shapeOf(random), (x) => tf.pow(tf.add(tf.abs(x), 0.5), exponent));
  },
  (random) => onOne(random, 'reverse', shapeOf(random, 1 + random.integer(3)), (x) => tf.reverse(x)),
  (random) => onOne(random, 'addN', shapeOf(random), (x) => tf.addN([x, x, x])),
  (random) => onOne(random, 'fill, range and linspace', [5], (x) => tf.add(tf.add(tf.fill([5], 2.5), x), tf.range(0, 5))),
];

export function kernelCall(random: Rng): Call {
  return pick(random, MAKERS)(random);
}
