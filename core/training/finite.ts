/** NaN and infinity end a training before they are learned from, and before they are kept. */
import type { Trainable } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { globalNorm } from '../tensor/adamw.ts';
import type { StepGradients } from './gradients.ts';

/** What is known when numbers go wrong. */
export interface Circumstances {
  readonly step: number;
  readonly learningRate: number;
  /** Of the steps before, the newest last. */
  readonly recentLosses: readonly number[];
  readonly checkpointStep: number | undefined;
}

/**
 * Stops the run before a step that would spoil the trainables.
 * @throws GraftError `LOSS_NOT_FINITE` or `GRADIENT_NOT_FINITE`
 */
export function assertFinite(result: StepGradients, trainables: readonly Trainable[], circumstances: Circumstances): void {
  if (Number.isFinite(result.loss) && Number.isFinite(result.norm)) return;
  const worst = trainables.find((_, i) => !Number.isFinite(globalNorm([result.gradients[i]!])));
  const lossFailed = !Number.isFinite(result.loss);
  const what = lossFailed ? `The loss of step ${circumstances.step} is ${result.loss}` : `The gradient of step ${circumstances.step} is not finite`;
  const where = worst === undefined ? '' : `; the first trainable whose gradient is not finite is ${worst.name}`;
  throw failure(lossFailed ? 'LOSS_NOT_FINITE' : 'GRADIENT_NOT_FINITE', `${what}${where}`, circumstances);
}

/**
 * Stops the run where what a step left no longer gives a finite loss: such values are not worth keeping.
 * @param loss in evaluation or of the same data, after `step` steps
 * @throws GraftError `LOSS_NOT_FINITE`
 */
export function assertSound(loss: number, trainables: readonly Trainable[], circumstances: Circumstances): void {
  if (Number.isFinite(loss)) return;
  const { step } = circumstances;
  // NaN counts as larger than any number.
  const sizes = trainables.map(({ name, variable }) => ({ name, size: variable.dataSync<'float32'>().reduce((most, value) => Math.max(most, Math.abs(value)), 0) }));
  const worst = sizes.reduce((most, each) => (most.size >= each.size || Number.isNaN(most.size) ? most : each));
  throw failure('LOSS_NOT_FINITE', `${step === 0 ? 'Before the first step' : `After step ${step}`} the loss is ${loss}; the largest value of a trainable is ${worst.size.toPrecision(3)}, in ${worst.name}`, circumstances);
}

function failure(code: string, what: string, { learningRate, recentLosses, checkpointStep }: Circumstances): GraftError {
  const before = recentLosses.length === 0 ? 'no step had been taken' : `the last losses were ${recentLosses.map((loss) => loss.toFixed(4)).join(', ')}`;
  const kept = checkpointStep === undefined ? 'No checkpoint had been written.' : `The checkpoint of step ${checkpointStep} is kept.`;
  return new GraftError(code, `${what}. The learning rate was ${learningRate}; ${before}.`, {
    hint: `${kept} Start a new run with a lower learning_rate or max_grad_norm or a longer warm-up, or look for a broken example in the data.`,
  });
}
