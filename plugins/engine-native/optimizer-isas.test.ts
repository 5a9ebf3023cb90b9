import { describe, expect, it } from 'vitest';
import { normals } from '../../test/support/gradients.ts';
import { loadAddon } from './binding.ts';
import { runOn } from './testing.ts';

describe('AdamW has the same bits on every instruction set and number of threads', () => {
  const addon = loadAddon();
  const n = 40_003;
  const [p, g, moments] = [normals([n], 'p'), normals([n], 'g'), normals([2 * n], 'm').map(Math.abs)];
  const numbers = [0.9, 0.999, 1e-8, 0.01, 0.3, 0.7];

  it.each(addon.isas())('%s', (isa) => {
    const exact = { p: p.slice(), m: moments.slice(0, n), v: moments.slice(n) };
    for (let i = 0; i < n; i++) {
      const gradient = g[i]! * 0.7;
      exact.m[i] = 0.9 * exact.m[i]! + (1 - 0.9) * gradient;
      exact.v[i] = 0.999 * exact.v[i]! + (1 - 0.999) * gradient * gradient;
      exact.p[i] = exact.p[i]! * 0.995 - (0.01 * exact.m[i]!) / (Math.sqrt(exact.v[i]!) / 0.3 + 1e-8);
    }
    for (const threads of [1, 3]) {
      const { arrays } = runOn(addon, isa, threads, 'adamw', [...numbers, moments, 1, p, g, n, 0.995, -1]);
      expect(arrays[1]).toEqual(exact.p);
      expect(arrays[0]!.subarray(0, n)).toEqual(exact.m);
      expect(arrays[0]!.subarray(n)).toEqual(exact.v);
    }
  });
});
