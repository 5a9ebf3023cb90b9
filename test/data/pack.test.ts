import { describe, expect, it } from 'vitest';
import { packBestFit, rng } from 'graft';

/** Bins that first-fit decreasing needs: the simplest algorithm with the same guarantee. */
function firstFitDecreasing(lengths: readonly number[], capacity: number): number {
  const left: number[] = [];
  for (const length of [...lengths].sort((a, b) => b - a)) {
    const bin = left.findIndex((room) => room >= length);
    if (bin === -1) left.push(capacity - length);
    else left[bin]! -= length;
  }
  return left.length;
}

/** Best-fit decreasing by looking at every open bin, to hold the fast search against. */
function slowBestFit(lengths: readonly number[], capacity: number): number {
  const left: number[] = [];
  for (const length of [...lengths].sort((a, b) => b - a)) {
    let best = -1;
    for (const [bin, room] of left.entries()) if (room >= length && (best === -1 || room < left[best]!)) best = bin;
    if (best === -1) left.push(capacity - length);
    else left[best]! -= length;
  }
  return left.length;
}

/** Seeded lists of lengths of several kinds: uniform, mostly short, mostly half a bin. */
const cases = Array.from({ length: 60 }, (_, index) => {
  const random = rng(7, 'pack', index);
  const capacity = 1 + random.integer(index % 3 === 0 ? 16 : 2048);
  const kind = index % 4;
  const length = (): number => {
    const most = kind === 1 ? Math.max(1, capacity >> 3) : capacity;
    const base = 1 + random.integer(most);
    return kind === 2 ? Math.max(1, Math.min(capacity, Math.floor(capacity / 2) + random.integer(5) - 2)) : base;
  };
  return { capacity, lengths: Array.from({ length: 1 + random.integer(300) }, length) };
});

describe('packBestFit', () => {
  it('puts lengths 3, 4, 1 into sequences of 4 as [4] and [3, 1]', () => {
    const lengths = [3, 4, 1];
    expect(packBestFit(lengths, 4).map((bin) => bin.map((index) => lengths[index]))).toEqual([[4], [3, 1]]);
  });

  it('loses nothing, doubles nothing and never goes over the capacity', () => {
    for (const { lengths, capacity } of cases) {
      const bins = packBestFit(lengths, capacity);
      expect(bins.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, index) => index));
      for (const bin of bins) expect(bin.reduce((sum, index) => sum + lengths[index]!, 0)).toBeLessThanOrEqual(capacity);
    }
  });

  it('needs as many bins as best-fit decreasing by exhaustive search', () => {
    for (const { lengths, capacity } of cases) expect(packBestFit(lengths, capacity)).toHaveLength(slowBestFit(lengths, capacity));
  });

  it('stays within 11/9 of the optimum and a bin, so within that of first-fit decreasing too', () => {
    for (const { lengths, capacity } of cases) {
      const bins = packBestFit(lengths, capacity).length;
      const atLeast = Math.ceil(lengths.reduce((sum, length) => sum + length, 0) / capacity);
      expect(bins).toBeGreaterThanOrEqual(atLeast);
      expect(bins).toBeLessThanOrEqual((11 / 9) * firstFitDecreasing(lengths, capacity) + 6 / 9);
    }
  });

  it('gives the same bins for the same lengths', () => {
    for (const { lengths, capacity } of cases) expect(packBestFit(Int32Array.from(lengths), capacity)).toEqual(packBestFit(lengths, capacity));
  });

  it('packs 100,000 examples, filling bins of small examples to the brim', () => {
    const random = rng(1, 'many');
    const lengths = Array.from({ length: 100_000 }, () => 1 + random.integer(900));
    const bins = packBestFit(lengths, 4096);
    const total = lengths.reduce((sum, length) => sum + length, 0);
    expect(bins.flat()).toHaveLength(lengths.length);
    expect(bins.length).toBeLessThanOrEqual(Math.ceil(total / 4096) + 1);
  });

  it('takes no examples, and examples that fill a bin each', () => {
    expect(packBestFit([], 8)).toEqual([]);
    expect(packBestFit([8, 8], 8)).toEqual([[0], [1]]);
  });

  it('refuses a length that fits nowhere', () => {
    expect(() => packBestFit([3, 9], 8)).toThrow('Example 1 has 9 tokens, which does not fit into sequences of 8.');
    expect(() => packBestFit([0], 8)).toThrow('Example 0 has 0 tokens');
    expect(() => packBestFit([1.5], 8)).toThrow(RangeError);
  });
});
