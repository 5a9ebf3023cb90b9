import type { Resumption } from '../contracts/index.ts';
import { beginning, type Place } from './batches.ts';
import type { TrainingSettings } from './options.ts';

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
  /** Steps before the optimizer began anew, after a swap to other trainables. */
  readonly optimizerFrom?: number;
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

/**
 * Losses on other data, of other trainables or of another loss function are no measure for these.
 * @param place where the data stood when the checkpoint was made
 * @param sameMeasure whether the loss function is the checkpoint's
 */
export function afterSwap(progress: Progress, { swapped, otherTrainables = false }: Pick<Resumption, 'swapped' | 'otherTrainables'>, place: Place, sameMeasure: boolean): Progress {
  const moved = { ...progress, from: swapped === 'same-data' ? place : beginning(progress.step), ...(otherTrainables ? { optimizerFrom: progress.step } : {}) };
  return swapped === 'same-data' && !otherTrainables && sameMeasure ? moved : { ...moved, evalLoss: undefined, bestEvalLoss: undefined, evaluationsWithoutGain: 0 };
}

/** Steps that the optimizer has taken. */
export function optimizerSteps({ step, optimizerFrom = 0 }: Progress): number {
  return step - optimizerFrom;
}

export function stopsEarly(progress: Progress, { early_stopping_patience }: TrainingSettings): boolean {
  return early_stopping_patience !== undefined && progress.evaluationsWithoutGain >= early_stopping_patience;
}
