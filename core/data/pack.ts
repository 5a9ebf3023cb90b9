/** Packing: examples into sequences of a fixed capacity, so that few tokens of a sequence stay unused. */

/**
 * For each remaining capacity, whether an open bin has it, as a binary tree over `0..capacity`: the smallest remaining
 * capacity that is large enough is found in O(log capacity).
 */
class RemainingCapacities {
  readonly #leaves: number;
  /** Number of bins below each node; the root is 1. */
  readonly #counts: Int32Array;

  constructor(capacity: number) {
    let leaves = 1;
    while (leaves < capacity + 1) leaves *= 2;
    this.#leaves = leaves;
    this.#counts = new Int32Array(2 * leaves);
  }

  add(remaining: number, change: 1 | -1): void {
    for (let node = this.#leaves + remaining; node >= 1; node >>= 1) this.#counts[node]! += change;
  }

  /** The smallest remaining capacity that is at least `needed`; -1 when no bin has as much. */
  smallestFrom(needed: number): number {
    let node = this.#leaves + needed;
    if (this.#counts[node]! > 0) return needed;
    // Up until a right sibling holds a bin, then down along its left edge.
    while (node > 1 && !(node % 2 === 0 && this.#counts[node + 1]! > 0)) node >>= 1;
    if (node === 1) return -1;
    node++;
    while (node < this.#leaves) node = this.#counts[2 * node]! > 0 ? 2 * node : 2 * node + 1;
    return node - this.#leaves;
  }
}

/**
 * Best-fit decreasing bin packing (Johnson 1974): the longest first, each into the fullest bin that still has room, a new
 * bin where none has. At most 11/9 of the fewest bins possible, plus one. O(n log capacity); the same lengths always
 * give the same bins.
 *
 * @param lengths `[n]` in tokens, each from 1 to `capacity`
 * @returns bins in the order opened, each a list of indices into `lengths`, the longest first: lengths `[3, 4, 1]` into
 * 4 give `[[1], [0, 2]]`
 * @throws RangeError for a length that is not a whole number from 1 to `capacity`
 */
export function packBestFit(lengths: ArrayLike<number>, capacity: number): number[][] {
  const order = Int32Array.from({ length: lengths.length }, (_, index) => index);
  for (const index of order) {
    const length = lengths[index]!;
    if (!Number.isInteger(length) || length < 1 || length > capacity) throw new RangeError(`Example ${index} has ${length} tokens, which does not fit into sequences of ${capacity}.`);
  }
  order.sort((a, b) => lengths[b]! - lengths[a]! || a - b);

  const bins: number[][] = [];
  const remaining = new RemainingCapacities(capacity);
  /** Remaining capacity -> bins that have it; the last put there is taken first. */
  const remainingToBins = new Map<number, number[]>();
  const put = (bin: number, left: number): void => {
    remaining.add(left, 1);
    const others = remainingToBins.get(left);
    if (others === undefined) remainingToBins.set(left, [bin]);
    else others.push(bin);
  };

  for (const index of order) {
    const length = lengths[index]!;
    const room = remaining.smallestFrom(length);
    if (room === -1) {
      put(bins.push([index]) - 1, capacity - length);
      continue;
    }
    const bin = remainingToBins.get(room)!.pop()!;
    remaining.add(room, -1);
    bins[bin]!.push(index);
    put(bin, room - length);
  }
  return bins;
}
