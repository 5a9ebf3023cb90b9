/** Learning-rate schedules, as `get_scheduler` of Hugging Face transformers computes them. */

/** `lr_scheduler_type`, in transformers' names. */
export type SchedulerType = 'constant' | 'constant_with_warmup' | 'linear' | 'cosine';

export interface Schedule {
  readonly type: SchedulerType;
  /** Steps over which the rate rises from 0. */
  readonly warmupSteps: number;
  readonly totalSteps: number;
}

/**
 * What the learning rate is multiplied by in one step.
 *
 *     warm-up   step / warmup
 *     linear    (total - step) / (total - warmup)
 *     cosine    (1 + cos(pi (step - warmup) / (total - warmup))) / 2
 *
 * @param step steps already done: 0 for the first
 */
export function learningRateFactor({ type, warmupSteps, totalSteps }: Schedule, step: number): number {
  if (type === 'constant') return 1;
  if (step < warmupSteps) return step / Math.max(1, warmupSteps);
  if (type === 'constant_with_warmup') return 1;
  const decaySteps = Math.max(1, totalSteps - warmupSteps);
  if (type === 'linear') return Math.max(0, (totalSteps - step) / decaySteps);
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((step - warmupSteps) / decaySteps))));
}

/** `warmup_steps` where it is given, else `warmup_ratio` of all steps, rounded up as transformers does. */
export function warmupStepsOf(options: { readonly warmup_steps: number; readonly warmup_ratio: number }, totalSteps: number): number {
  return options.warmup_steps > 0 ? options.warmup_steps : Math.ceil(totalSteps * options.warmup_ratio);
}
