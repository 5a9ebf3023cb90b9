import { describe, expect, it } from 'vitest';
import { rng } from '../../core/index.ts';

const draw = (count: number, next: () => number): number[] => Array.from({ length: count }, next);
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe('rng', () => {
  it('gives the same numbers for the same seed and names, on every machine', () => {
    expect(draw(4, rng(42, 'shuffle', 3).next)).toEqual(draw(4, rng(42, 'shuffle', 3).next));
    expect(draw(4, rng(42, 'shuffle', 3).next)).toEqual([1139298230, 696840230, 2059622277, 3618602223]);
  });

  it('gives other numbers for another seed, another name, or a number for a name', () => {
    const streams = [rng(1, 'a'), rng(2, 'a'), rng(1, 'b'), rng(1, 'a', 'a'), rng(1), rng(1, 1), rng(1, '1'), rng(2 ** 40 + 1, 'a'), rng(1, 'ab', 'c'), rng(1, 'a', 'bc')];
    const firsts = streams.map((stream) => draw(4, stream.next).join());
    expect(new Set(firsts).size).toBe(streams.length);
  });

  it('is uniform: mean, variance and correlation of neighbours', () => {
    const values = draw(100_000, rng(1, 'uniform').uniform);
    expect(Math.abs(mean(values) - 0.5)).toBeLessThan(0.004);
    expect(Math.abs(mean(values.map((v) => (v - 0.5) ** 2)) - 1 / 12)).toBeLessThan(0.002);
    expect(Math.abs(mean(values.slice(1).map((v, i) => (v - 0.5) * (values[i]! - 0.5))))).toBeLessThan(0.001);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...values)).toBeLessThan(1);
  });

  it('is uniform over the first draws of neighbouring streams too', () => {
    const values = Array.from({ length: 20_000 }, (_, i) => rng(i, 'stream').uniform());
    expect(Math.abs(mean(values) - 0.5)).toBeLessThan(0.008);
    expect(Math.abs(mean(values.slice(1).map((v, i) => (v - 0.5) * (values[i]! - 0.5))))).toBeLessThan(0.003);
  });

  it('is normal: mean, variance and kurtosis', () => {
    const values = draw(100_000, rng(3, 'normal').normal);
    expect(Math.abs(mean(values))).toBeLessThan(0.015);
    expect(Math.abs(mean(values.map((v) => v ** 2)) - 1)).toBeLessThan(0.02);
    expect(Math.abs(mean(values.map((v) => v ** 4)) - 3)).toBeLessThan(0.15);
  });

  it('draws each integer as often as another', () => {
    const counts = new Array<number>(7).fill(0);
    for (const value of draw(70_000, () => integers.integer(7))) counts[value]!++;
    const chiSquare = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
    expect(chiSquare).toBeLessThan(22.5); // 0.1 % of true uniform draws exceed it at 6 degrees of freedom.
  });

  it('refuses a range that is none', () => {
    for (const n of [0, -1, 1.5, NaN]) expect(() => rng(1).integer(n)).toThrow(RangeError);
  });

  it('shuffles into every order, losing nothing', () => {
    const random = rng(9);
    const orders = new Map<string, number>();
    for (let i = 0; i < 6_000; i++) {
      const order = random.shuffle(Int32Array.from([0, 1, 2])).join('');
      orders.set(order, (orders.get(order) ?? 0) + 1);
    }
    expect([...orders.keys()].sort()).toEqual(['012', '021', '102', '120', '201', '210']);
    for (const count of orders.values()) expect(Math.abs(count - 1_000)).toBeLessThan(120);
  });
});

const integers = rng(5, 'integers');
