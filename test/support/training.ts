/** The trainer `sft` without a config file. */
import { Value } from 'typebox/value';
import type { TrainCall, TrainEvent, TrainingOptions, TrainPlan } from '../../core/index.ts';
import { settingsOf, type TrainingSettings } from '../../core/training/options.ts';
import { planTraining } from '../../core/training/plan.ts';
import { runTraining } from '../../core/training/trainer.ts';
import { sft, sftOptions } from '../../plugins/train-sft/sft.ts';

/** Options with their defaults filled in. */
export function options(given: Partial<TrainingOptions> = {}): TrainingOptions {
  return Value.Default(sftOptions, { ...given }) as TrainingOptions;
}

export function settings(given: Partial<TrainingOptions> = {}): TrainingSettings {
  return settingsOf(options(given), 'sft');
}

export function train(call: TrainCall<TrainingOptions>): AsyncGenerator<TrainEvent> {
  return runTraining(call, sft(call.model));
}

export function plan(call: Parameters<typeof planTraining>[0]): TrainPlan {
  return planTraining(call, sft(call.model));
}
