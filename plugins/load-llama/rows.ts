/** Rows of a packed batch that belong together though they do not stand together. */
import { tf } from 'graft';

/** Consecutive rows. */
export interface Run {
  readonly start: number;
  readonly count: number;
}

/** The rows of some segments, neighbours joined: offsets `[N+1]`, segments ascending. */
export function runsOf(offsets: Int32Array, segments: readonly number[]): readonly Run[] {
  const runs: { start: number; count: number }[] = [];
  for (const segment of segments) {
    const [start, end] = [offsets[segment]!, offsets[segment + 1]!];
    const last = runs[runs.length - 1];
    if (last !== undefined && last.start + last.count === start) last.count += end - start;
    else runs.push({ start, count: end - start });
  }
  return runs;
}

/** `[T, ...]` -> `[rows, ...]`, in the order of the runs. */
export function takeRows<T extends tf.Tensor>(x: T, runs: readonly Run[]): T {
  const parts = runs.map(({ start, count }) => tf.slice(x, [start, ...x.shape.slice(1).map(() => 0)], [count, ...x.shape.slice(1)]));
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 0);
}

/** The same for integers that stand beside a batch. */
export function takeIntegers(values: Int32Array, runs: readonly Run[]): Int32Array {
  const taken = new Int32Array(runs.reduce((sum, run) => sum + run.count, 0));
  let at = 0;
  for (const { start, count } of runs) {
    taken.set(values.subarray(start, start + count), at);
    at += count;
  }
  return taken;
}

/** Puts what `takeRows` took apart together again; the runs of all parts cover every row once. */
export function joinRows<T extends tf.Tensor>(parts: readonly { readonly runs: readonly Run[]; readonly rows: T }[]): T {
  const pieces = parts.flatMap(({ runs, rows }) => {
    let at = 0;
    return runs.map((run) => {
      const piece = { run, rows, at };
      at += run.count;
      return piece;
    });
  });
  pieces.sort((a, b) => a.run.start - b.run.start);
  return pieces.length === 1 ? pieces[0]!.rows : tf.concat(pieces.map(({ run, rows, at }) => takeRows(rows, [{ start: at, count: run.count }])), 0);
}
