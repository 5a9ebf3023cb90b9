/** One forward pass: which stack each segment goes through, where its tokens stand, and what they attend to. */
import type { ForwardOptions, Rotation, tf } from 'graft';
import type { LlamaCache } from './cache.ts';
import type { RotaryTable } from './rope.ts';
import { joinRows, runsOf, takeIntegers, takeRows, type Run } from './rows.ts';

export type StackName = string | undefined;

interface PassParts {
  /** `[N+1]` */
  readonly offsets: Int32Array;
  /** Of each segment; undefined: the base alone. */
  readonly stacks: readonly StackName[];
  readonly training: ForwardOptions['training'];
  /** `[T]` */
  readonly positions: Int32Array;
  readonly rotary: RotaryTable;
  /** One per segment. */
  readonly caches?: readonly LlamaCache[];
  /** Whether a graft asked for these rows with an input of its own. */
  readonly own?: boolean;
}

/** Segments that go one way through a site. */
export interface PassGroup {
  /** The stack of all of them; undefined: no stack changes anything here, so theirs may differ. */
  readonly stack: StackName;
  readonly pass: Pass;
  readonly runs: readonly Run[];
}

export class Pass {
  readonly offsets: Int32Array;
  readonly stacks: readonly StackName[];
  readonly training: ForwardOptions['training'];
  readonly caches: readonly LlamaCache[] | undefined;
  readonly own: boolean;
  readonly #parts: PassParts;
  #rotation: Rotation | undefined;
  #names: readonly string[] | undefined;
  /** By which of the stacks change something. */
  readonly #groups = new Map<string, readonly PassGroup[]>();

  constructor(parts: PassParts) {
    this.#parts = parts;
    this.offsets = parts.offsets;
    this.stacks = parts.stacks;
    this.training = parts.training;
    this.caches = parts.caches;
    this.own = parts.own ?? false;
  }

  get tokens(): number {
    return this.offsets[this.offsets.length - 1]!;
  }

  /** Made when first asked for, and anew where the tidy in which that was has ended: a backward may run the pass again. */
  rotation(): Rotation {
    if (this.#rotation === undefined || this.#rotation.cos.isDisposed) this.#rotation = this.#parts.rotary.at(this.#parts.positions);
    return this.#rotation;
  }

  /** The segments by the stack that `changes` something for them here; those that none does are one group. */
  groups(changes: (stack: string) => boolean): readonly PassGroup[] {
    this.#names ??= [...new Set(this.stacks)].filter((stack) => stack !== undefined);
    // Most sites are changed by the same stacks.
    let key = '';
    for (const stack of this.#names) key += changes(stack) ? '1' : '0';
    let groups = this.#groups.get(key);
    if (groups === undefined) this.#groups.set(key, (groups = this.#grouped(new Set(this.#names.filter((_, i) => key[i] === '1')))));
    return groups;
  }

  #grouped(changed: ReadonlySet<StackName>): readonly PassGroup[] {
    const segmentsByStack = new Map<StackName, number[]>();
    this.stacks.forEach((stack, segment) => {
      const key = changed.has(stack) ? stack : undefined;
      const list = segmentsByStack.get(key);
      if (list === undefined) segmentsByStack.set(key, [segment]);
      else list.push(segment);
    });
    if (segmentsByStack.size === 1) return [{ stack: segmentsByStack.keys().next().value, runs: [{ start: 0, count: this.tokens }], pass: this }];
    return [...segmentsByStack].map(([stack, segments]) => {
      let made: Pass | undefined;
      const select = (): Pass => (made ??= this.#select(segments));
      // Many sites ask for the rows alone.
      return { stack, runs: runsOf(this.offsets, segments), get pass() { return select(); } };
    });
  }

  /** The same rows, asked for by a graft with an input of its own. */
  asOwn(): Pass {
    if (this.own) return this;
    const pass = new Pass({ ...this.#parts, own: true });
    pass.#rotation = this.#rotation;
    return pass;
  }

  /**
   * Chosen rows, for what looks at each row alone: consecutive ones of a segment stay a segment.
   * @param rows in any order
   */
  ofRows(rows: Int32Array): Pass {
    const lengths: number[] = [];
    const stacks: StackName[] = [];
    let before = -1;
    rows.forEach((row, i) => {
      const segment = this.#segmentOf(row);
      if (segment === before && row > rows[i - 1]!) {
        lengths[lengths.length - 1]!++;
        return;
      }
      before = segment;
      lengths.push(1);
      stacks.push(this.stacks[segment]);
    });
    return new Pass({ ...this.#parts, offsets: offsetsOf(lengths), stacks, positions: rows.map((row) => this.#parts.positions[row]!), caches: undefined });
  }

  /** The last segment that begins at or before a row. */
  #segmentOf(row: number): number {
    let [low, high] = [0, this.stacks.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.offsets[middle]! <= row) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #select(segments: readonly number[]): Pass {
    const { positions, caches } = this.#parts;
    return new Pass({
      ...this.#parts,
      offsets: offsetsOf(segments.map((segment) => this.offsets[segment + 1]! - this.offsets[segment]!)),
      stacks: segments.map((segment) => this.stacks[segment]),
      positions: takeIntegers(positions, runsOf(this.offsets, segments)),
      caches: caches && segments.map((segment) => caches[segment]!),
    });
  }
}

/**
 * Computes group by group where a stack changes something, at once where none does: x `[T, in]` -> `[T, out]`.
 * @param compute is given each group's rows of x
 */
export function perStack<T extends tf.Tensor>(x: tf.Tensor2D, pass: Pass, changes: (stack: string) => boolean, compute: (x: tf.Tensor2D, group: PassGroup) => T): T {
  const groups = pass.groups(changes);
  if (groups.length === 1) return compute(x, groups[0]!);
  return joinRows(groups.map((group) => ({ runs: group.runs, rows: compute(takeRows(x, group.runs), group) })));
}

/** Lengths of N segments -> `[N+1]`. */
export function offsetsOf(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => (offsets[i + 1] = offsets[i]! + length));
  return offsets;
}

