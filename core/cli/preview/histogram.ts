/** One bar of a histogram: how many values are from `from` to `to`, both included. */
export interface Bin {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/**
 * Counts lengths in at most `bins` ranges of one width, from the shortest to the longest.
 * @returns none for no lengths
 */
export function histogram(lengths: readonly number[], bins = 10): readonly Bin[] {
  if (lengths.length === 0) return [];
  let [shortest, longest] = [lengths[0]!, lengths[0]!];
  for (const length of lengths) {
    shortest = Math.min(shortest, length);
    longest = Math.max(longest, length);
  }
  const width = Math.ceil((longest - shortest + 1) / bins);
  const counts = new Array<number>(Math.ceil((longest - shortest + 1) / width)).fill(0);
  for (const length of lengths) counts[Math.floor((length - shortest) / width)]!++;
  return counts.map((count, index) => ({ from: shortest + index * width, to: Math.min(longest, shortest + (index + 1) * width - 1), count }));
}

/** Bars of `#`, the longest `width` characters. */
export function histogramLines(bins: readonly Bin[], width = 40): readonly string[] {
  const most = Math.max(1, ...bins.map((bin) => bin.count));
  const digits = Math.max(...bins.map((bin) => String(bin.to).length));
  return bins.map(({ from, to, count }) => `${String(from).padStart(digits)} to ${String(to).padStart(digits)}  ${'#'.repeat(count === 0 ? 0 : Math.max(1, Math.round((count * width) / most))).padEnd(width)}  ${count}`);
}
