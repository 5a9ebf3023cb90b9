import { beginning, type Place } from './batches.ts';
import type { SftSettings } from './options.ts';

/** How many of the last losses a report of a failed step shows. */
const RECENT = 5;

/** Where a training stands, beside its tensors: plain data, kept in every checkpoint. */
export interface Progress {
  /** Steps done. */
  readonly step: number;
  /** Forward passes done: dropout masks are named by it. */
  readonly passes: number;
  readonly recentLosses: readonly number[];
  readonly evalLoss?: number;
  readonly bestEvalLoss?: number;
  /** Evaluations in a row that were no better than the best. */
  readonly evaluationsWithoutGain: number;
  /** Where the present config began to count in the data, after a swap. */
  readonly from?: Place;
}

/** What a checkpoint keeps. */
export interface SavedProgress extends Progress {
  /** Where the data stood: a swapped config goes on from here, whatever its batches are. */
  readonly place?: Place;
}

export const BEGINNING: Progress = { step: 0, passes: 0, recentLosses: [], evaluationsWithoutGain: 0 };

export function afterStep(progress: Progress, loss: number, passes: number): Progress {
  return { ...progress, step: progress.step + 1, passes: progress.passes + passes, recentLosses: [...progress.recentLosses, loss].slice(-RECENT) };
}

export function afterEvaluation(progress: Progress, evalLoss: number, threshold: number): Progress {
  const gained = progress.bestEvalLoss === undefined || evalLoss < progress.bestEvalLoss - threshold;
  return {
    ...progress,
    evalLoss,
    bestEvalLoss: gained ? evalLoss : progress.bestEvalLoss,
    evaluationsWithoutGain: gained ? 0 : progress.evaluationsWithoutGain + 1,
  };
}

/** Losses on other data are no measure for these. @param place where the data stood when the checkpoint was made */
export function afterSwap(progress: Progress, swapped: 'same-data' | 'other-data', place: Place): Progress {
  if (swapped === 'same-data') return { ...progress, from: place };
  return { ...progress, from: beginning(progress.step), evalLoss: undefined, bestEvalLoss: undefined, evaluationsWithoutGain: 0 };
}

export function stopsEarly(progress: Progress, { early_stopping_patience }: SftSettings): boolean {
  return early_stopping_patience !== undefined && progress.evaluationsWithoutGain >= early_stopping_patience;
}
