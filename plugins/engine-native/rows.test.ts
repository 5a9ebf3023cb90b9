import { describe, expect, it } from 'vitest';
import { bitsAt, rngKey } from '../../core/tensor/rng.ts';
import { normals } from '../../test/support/gradients.ts';
import { loadAddon } from './binding.ts';
import { difference, runOn } from './testing.ts';

const addon = loadAddon();
const NONE = -1;
const EPS = 1e-5;

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const sigmoid = (g: number): number => 1 / (1 + Math.exp(-g));

/** Rows of a matrix as float64. */
function rowsOf(values: Float32Array, size: number): number[][] {
  return Array.from({ length: values.length / size }, (_, row) => [...values.subarray(row * size, (row + 1) * size)]);
}

/** `y = x r w`, and dx and dw of dy, in float64. */
function rmsNormInFloat64(x: Float32Array, w: Float32Array, dy: Float32Array) {
  const size = w.length;
  const [xs, dys] = [rowsOf(x, size), rowsOf(dy, size)];
  const r = xs.map((row) => 1 / Math.sqrt(sum(row.map((v) => v * v)) / size + EPS));
  const y = xs.flatMap((row, t) => row.map((v, i) => v * r[t]! * w[i]!));
  const dx = xs.flatMap((row, t) => {
    const along = sum(row.map((v, i) => dys[t]![i]! * w[i]! * v)) / size;
    return row.map((v, i) => r[t]! * (dys[t]![i]! * w[i]! - v * r[t]! ** 2 * along));
  });
  const dw = [...w].map((_, i) => sum(xs.map((row, t) => dys[t]![i]! * row[i]! * r[t]!)));
  return { y, r, dx, dw };
}

describe.each(addon.isas())('on %s', (isa) => {
  const run = (threads: number, operation: string, args: Parameters<typeof runOn>[4]): Float32Array[] => runOn(addon, isa, threads, operation, args).outs;

  describe.each([[1, 1], [3, 7], [5, 16], [67, 131], [900, 100]])('rmsNorm [%i, %i]', (rows, size) => {
    const [x, w, dy] = [normals([rows, size], 'x'), normals([size], 'w'), normals([rows, size], 'dy')];
    const exact = rmsNormInFloat64(x, w, dy);

    it('is its definition, forward and backward', () => {
      const [y, r] = run(3, 'rmsNorm', [x, w, rows, size, EPS, { out: x.length }, { out: rows }]);
      expect(difference(y!, exact.y)).toBeLessThan(2e-6);
      expect(difference(r!, exact.r)).toBeLessThan(2e-6);
      const [dx, dw] = run(3, 'rmsNormBackward', [dy, x, w, r!, rows, size, { out: x.length }, { out: size }]);
      expect(difference(dx!, exact.dx)).toBeLessThan(2e-6);
      expect(difference(dw!, exact.dw)).toBeLessThan(2e-6);
    });

    it('gives either gradient alone, and the same bits each time', () => {
      const r = Float32Array.from(exact.r);
      const [dx, dw] = run(3, 'rmsNormBackward', [dy, x, w, r, rows, size, { out: x.length }, { out: size }]);
      for (let i = 0; i < 5; i++) {
        expect(run(3, 'rmsNormBackward', [dy, x, w, r, rows, size, NONE, { out: size }])[0]).toEqual(dw);
        expect(run(3, 'rmsNormBackward', [dy, x, w, r, rows, size, { out: x.length }, NONE])[0]).toEqual(dx);
      }
    });
  });

  it.each([[1, 1, 1], [5, 3, 7], [40, 9, 32], [300, 2, 65]])('rope of %i tokens, %i heads and %i pairs turns each pair by its angle, and back', (tokens, heads, half) => {
    const x = normals([tokens, heads, 2 * half], 'x');
    const angles = normals([tokens, half], 'angles', 3);
    const [cos, sin] = [angles.map(Math.cos), angles.map(Math.sin)];
    const exact = x.map((value, at) => {
      const [token, i] = [Math.floor(at / (heads * 2 * half)), at % (2 * half)];
      const angle = token * half + (i % half);
      return i < half ? value * cos[angle]! - x[at + half]! * sin[angle]! : value * cos[angle]! + x[at - half]! * sin[angle]!;
    });
    const [y] = run(3, 'rope', [x, cos, sin, tokens, heads, half, 1, { out: x.length }]);
    expect(difference(y!, exact)).toBeLessThan(1e-6);
    expect(difference(run(3, 'rope', [y!, cos, sin, tokens, heads, half, -1, { out: x.length }])[0]!, x)).toBeLessThan(1e-6);
  });

  it.each([1, 7, 1003, 70_001])('swiglu of %i elements is its definition, forward and backward', (n) => {
    const [gate, up, dy] = [normals([n], 'gate', 4), normals([n], 'up'), normals([n], 'dy')];
    const [y] = run(3, 'swiglu', [gate, up, n, { out: n }]);
    expect(difference(y!, Array.from(gate, (g, i) => g * sigmoid(g) * up[i]!))).toBeLessThan(1e-6);
    const [dgate, dup] = run(3, 'swigluBackward', [dy, gate, up, n, { out: n }, { out: n }]);
    expect(difference(dgate!, Array.from(gate, (g, i) => dy[i]! * up[i]! * sigmoid(g) * (1 + g * (1 - sigmoid(g)))))).toBeLessThan(1e-6);
    expect(difference(dup!, Array.from(gate, (g, i) => dy[i]! * g * sigmoid(g)))).toBeLessThan(1e-6);
    expect(run(3, 'swigluBackward', [dy, gate, up, n, NONE, { out: n }])).toEqual([dup]);
    expect(run(3, 'swigluBackward', [dy, gate, up, n, { out: n }, NONE])).toEqual([dgate]);
  });

  it('swiglu of what is far out, infinite or no number is what JavaScript has', () => {
    const gate = Float32Array.of(-1000, -88, 88, 1000, Infinity, NaN);
    const [y] = run(1, 'swiglu', [gate, new Float32Array(6).fill(1), 6, { out: 6 }]);
    expect([...y!].slice(2)).toEqual([88, 1000, Infinity, NaN]);
    expect(Math.abs(y![0]!) + Math.abs(y![1]!)).toBeLessThan(1e-30);
  });

  it.each([[1, 0.5], [13, 0.1], [50_021, 0.01], [50_021, 0.9]])("dropout of %i elements at rate %f has the mask of core's generator, bit for bit", (n, rate) => {
    const key = rngKey(42, 'dropout', 7, 'model.layers.3/lora');
    const threshold = Math.round(rate * 2 ** 32);
    const x = normals([n], 'x');
    const kept = Math.fround(1 / (1 - rate));
    const [y] = run(3, 'dropout', [x, n, key.low, key.high, threshold, kept, { out: n }]);
    expect(y).toEqual(x.map((value, i) => value * (bitsAt(key, i) < threshold ? 0 : kept)));
  });

  it('dropout at a rate that rounds to 1 keeps nothing', () => {
    expect(run(1, 'dropout', [Float32Array.of(1, 2, 3), 3, 1, 2, 2 ** 32, 1e12, { out: 3 }])[0]).toEqual(new Float32Array(3));
  });
});
