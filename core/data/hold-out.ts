import { GraftError } from '../kernel/errors.ts';

/** Indices of the two sides of a split, each in the order of the data. */
export interface HeldOut {
  readonly train: readonly number[];
  readonly eval: readonly number[];
}

/**
 * Holds a random part of `count` examples out for evaluation.
 *
 * @param share below 1 a share of the examples (rounded, at least one), from 1 on a number of them; 0: none
 * @param shuffle of a seeded generator: the same seed holds the same examples out
 * @throws GraftError `EVAL_SPLIT` when nothing would be left to train on
 */
export function holdOut(count: number, share: number, shuffle: (indices: Int32Array) => Int32Array): HeldOut {
  const indices = Int32Array.from({ length: count }, (_, index) => index);
  if (share === 0) return { train: [...indices], eval: [] };
  const held = share < 1 ? Math.max(1, Math.round(count * share)) : share;
  if (held >= count) {
    throw new GraftError('EVAL_SPLIT', `eval_split: ${share} holds ${held} examples out for evaluation, but there ${count === 1 ? 'is only 1' : `are only ${count}`}: nothing is left to train on.`, {
      option: ['eval_split'],
      hint: 'Give a smaller share or number, or evaluate on other files with eval_data.',
    });
  }
  const chosen = new Set(shuffle(indices.slice()).subarray(0, held));
  return { train: [...indices].filter((index) => !chosen.has(index)), eval: [...indices].filter((index) => chosen.has(index)) };
}
