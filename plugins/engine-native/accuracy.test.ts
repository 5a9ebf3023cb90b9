import { tf } from 'graft';
import { beforeAll, describe, expect, it } from 'vitest';
import { rng } from '../../core/index.ts';
import { startNative } from './engine.ts';

beforeAll(async () => {
  await startNative();
});

/** erf by its power series, and by the continued fraction of erfc where the series cancels. */
function erf(x: number): number {
  const t = Math.abs(x);
  if (t > 5) return Math.sign(x);
  let [term, sum] = [t, t];
  for (let n = 1; n < 200; n++) {
    term *= (-t * t) / n;
    sum += term / (2 * n + 1);
  }
  if (t < 3) return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  let fraction = t;
  for (let n = 120; n > 0; n--) fraction = t + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-t * t) / (fraction * Math.sqrt(Math.PI)));
}

/** The distance between neighbouring float32 numbers at y. */
function ulp(y: number): number {
  return 2 ** Math.max(Math.floor(Math.log2(Math.abs(y))) - 23, -149);
}

/** Numbers of every size: half of them spread evenly, half over the exponents. */
function spread(name: string, from: number, to: number): Float32Array {
  const random = rng(5, name);
  return Float32Array.from({ length: 20_000 }, (_, i) => {
    const even = from + random.uniform() * (to - from);
    return i % 2 === 0 ? even : Math.max(from, Math.min(to, even * 2 ** (-24 * random.uniform())));
  });
}

type Function = readonly [name: string, ours: (x: tf.Tensor) => tf.Tensor, exact: (x: number) => number, from: number, to: number, ulps: number];

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const FUNCTIONS: readonly Function[] = [
  ['exp', tf.exp, Math.exp, -87, 88.7, 2],
  ['expm1', tf.expm1, Math.expm1, -20, 88.7, 3],
  ['log', tf.log, Math.log, 1e-37, 1e38, 2],
  ['log near 1', tf.log, Math.log, 0.5, 2, 2],
  ['log1p', tf.log1p, Math.log1p, -0.99, 1e6, 3],
  ['log1p of little', tf.log1p, Math.log1p, -1e-3, 1e-3, 3],
  ['sigmoid', tf.sigmoid, sigmoid, -80, 80, 3],
  ['tanh', tf.tanh, Math.tanh, -10, 10, 3],
  ['softplus', tf.softplus, (x) => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x))), -80, 80, 4],
  ['erf', tf.erf, erf, -5, 5, 3],
  ['elu', tf.elu, (x) => (x >= 0 ? x : Math.expm1(x)), -20, 5, 3],
  ['sqrt', tf.sqrt, Math.sqrt, 0, 1e30, 0.51],
  ['rsqrt', tf.rsqrt, (x) => 1 / Math.sqrt(x), 1e-30, 1e30, 1.6],
  ['sin', tf.sin, Math.sin, -1000, 1000, 0.6],
  ['cos', tf.cos, Math.cos, -1000, 1000, 0.6],
  ['pow', (x) => tf.pow(x, 2.7), (x) => x ** Math.fround(2.7), 1e-10, 1e10, 0.6],
  ['cube', (x) => tf.pow(x, 3), (x) => x ** 3, -1e10, 1e10, 0.6],
];

describe('functions stay within a few units in the last place of float64', () => {
  it.each(FUNCTIONS)('%s', (name, ours, exact, from, to, ulps) => {
    const x = spread(name, from, to);
    const y = tf.tidy(() => ours(tf.tensor1d(x)).dataSync());
    let worst = { off: 0, at: 0 };
    x.forEach((value, i) => {
      const expected = exact(value);
      const off = Math.abs(y[i]! - expected) / ulp(expected);
      if (!(off <= worst.off)) worst = { off, at: value };
    });
    expect(worst.off, `at ${worst.at}`).toBeLessThanOrEqual(ulps);
  });

  it('of ten million numbers the sum, and of a million the mean of each column, to half a millionth', () => {
    const exact = Math.fround(1.1);
    expect(tf.tidy(() => tf.sum(tf.fill([10_000_000], 1.1)).dataSync()[0])! / (1e7 * exact)).toBeCloseTo(1, 6);
    expect(tf.tidy(() => tf.mean(tf.fill([1_000_000, 3], 1.1), 0).dataSync()[2])! / exact).toBeCloseTo(1, 6);
  });
});
