/** Arithmetic on packed token sequences. */
import type { Packed, PackedBatch } from '../contracts/index.ts';

/** A label that carries no loss. */
export const IGNORED = -100;

/** Position of each token in its own segment: offsets `[N+1]` -> `[T]`. */
export function positionsOf(offsets: Int32Array): Int32Array {
  const positions = new Int32Array(offsets[offsets.length - 1] ?? 0);
  for (let segment = 0; segment + 1 < offsets.length; segment++) {
    const start = offsets[segment]!;
    for (let i = start; i < offsets[segment + 1]!; i++) positions[i] = i - start;
  }
  return positions;
}

/** Joins packed sequences into one batch; every example stays a segment of its own. */
export function concatPacked(list: readonly Packed[]): PackedBatch {
  const tokens = list.reduce((sum, packed) => sum + packed.inputIds.length, 0);
  const segments = list.reduce((sum, packed) => sum + packed.offsets.length - 1, 0);
  const inputIds = new Int32Array(tokens);
  const labels = new Int32Array(tokens);
  const offsets = new Int32Array(segments + 1);
  let token = 0;
  let segment = 0;
  for (const packed of list) {
    inputIds.set(packed.inputIds, token);
    labels.set(packed.labels, token);
    for (let i = 1; i < packed.offsets.length; i++) offsets[++segment] = token + packed.offsets[i]!;
    token += packed.inputIds.length;
  }
  return { inputIds, labels, offsets, positions: positionsOf(offsets) };
}

/** Each example as a sequence of its own; shares the arrays. */
export function segmentsOf({ inputIds, labels, offsets }: Packed): Packed[] {
  return Array.from({ length: offsets.length - 1 }, (_, i) => {
    const [start, end] = [offsets[i]!, offsets[i + 1]!];
    return { inputIds: inputIds.subarray(start, end), labels: labels.subarray(start, end), offsets: Int32Array.of(0, end - start) };
  });
}

/** What each token is to predict: `labels[i + 1]` within a segment, -100 at its last token. `[T]` -> `[T]`. */
export function shiftLabels(labels: Int32Array, offsets: Int32Array): Int32Array {
  const targets = new Int32Array(labels.length).fill(IGNORED);
  for (let segment = 0; segment + 1 < offsets.length; segment++) {
    const last = offsets[segment + 1]! - 1;
    for (let i = offsets[segment]!; i < last; i++) targets[i] = labels[i + 1]!;
  }
  return targets;
}

/** Number of predictions that carry a loss: labels other than -100, without the first of each segment, which nothing predicts. */
export function trainedTokens({ labels, offsets }: Pick<Packed, 'labels' | 'offsets'>): number {
  let count = 0;
  for (let segment = 0; segment + 1 < offsets.length; segment++) {
    for (let i = offsets[segment]! + 1; i < offsets[segment + 1]!; i++) if (labels[i] !== IGNORED) count++;
  }
  return count;
}
