import { GraftError } from '../kernel/errors.ts';

/** Indices of the two sides of a split, each in the order of the data. */
export interface HeldOut {
  readonly train: readonly number[];
  readonly eval: readonly number[];
}

/**
 * Holds a random part of `count` rows out for evaluation.
 *
 * @param share below 1 a share of the rows (rounded, at least one), from 1 on a number of them; 0: none
 * @param shuffle of a seeded generator: the same seed holds the same rows out
 * @throws GraftError `EVAL_SPLIT` when nothing would be left to train on
 */
export function holdOut(count: number, share: number, shuffle: (indices: Int32Array) => Int32Array): HeldOut {
  const indices = Int32Array.from({ length: count }, (_, index) => index);
  if (share === 0) return { train: [...indices], eval: [] };
  const held = share < 1 ? Math.max(1, Math.round(count * share)) : share;
  if (!Number.isInteger(held)) throw new GraftError('EVAL_SPLIT', `eval_split: ${share} is neither a share below 1 nor a whole number of rows.`, { option: ['eval_split'] });
  if (held >= count) {
    throw new GraftError('EVAL_SPLIT', `eval_split: ${share} would hold ${held} of ${count} out for evaluation: nothing is left to train on.`, {
      option: ['eval_split'],
      hint: 'Give a smaller share or number, or evaluate on other files with eval_data.',
    });
  }
  const chosen = new Set(shuffle(indices.slice()).subarray(0, held));
  return { train: [...indices].filter((index) => !chosen.has(index)), eval: [...indices].filter((index) => chosen.has(index)) };
}
