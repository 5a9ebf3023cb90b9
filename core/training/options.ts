import { Type, type Static, type TObject } from 'typebox';
import { GraftError } from '../kernel/errors.ts';

/** Options that every trainer of this room has, in transformers' names where transformers has them: the properties of a schema. */
export const trainingOptions = {
  learning_rate: Type.Number({ exclusiveMinimum: 0, default: 2e-4, description: 'Peak learning rate.' }),
  lr_scheduler_type: Type.Union(
    [Type.Literal('constant'), Type.Literal('constant_with_warmup'), Type.Literal('linear'), Type.Literal('cosine')],
    { default: 'linear', description: 'How the learning rate falls after the warm-up.' },
  ),
  warmup_ratio: Type.Number({ minimum: 0, maximum: 1, default: 0, description: 'Share of all steps over which the learning rate rises from 0.' }),
  warmup_steps: Type.Integer({ minimum: 0, default: 0, description: 'The same in steps; give one of the two.' }),
  weight_decay: Type.Number({ minimum: 0, default: 0, description: 'Decoupled weight decay (AdamW).' }),
  adam_beta1: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: 0.9, description: 'Decay of the first moment.' }),
  adam_beta2: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: 0.999, description: 'Decay of the second moment.' }),
  adam_epsilon: Type.Number({ exclusiveMinimum: 0, default: 1e-8, description: 'Added to the root of the second moment.' }),
  max_grad_norm: Type.Number({ minimum: 0, default: 1, description: 'Gradients of a larger norm, over all trainables, are scaled down to it; 0: never.' }),
  epochs: Type.Number({ exclusiveMinimum: 0, default: 3, description: 'Passes over the training data; may be fractional. `max_steps` overrides it.' }),
  max_steps: Type.Optional(Type.Integer({ minimum: 1, description: 'Stop after so many steps, however many epochs they are.' })),
  batch_size: Type.Optional(Type.Integer({ minimum: 1, description: 'Sequences in a step. Without it and `batch_tokens`: 8.' })),
  batch_tokens: Type.Optional(Type.Integer({ minimum: 1, description: 'Tokens in a step at most (a longer sequence is a step of its own). Instead of `batch_size`.' })),
  micro_batch_tokens: Type.Integer({ minimum: 1, default: 2048, description: 'Tokens in one forward and backward pass at most: smaller takes less memory, and changes nothing else.' }),
  recompute: Type.Union([Type.Literal('none'), Type.Literal('block')], {
    default: 'none',
    description: 'What the backward computes again in place of keeping it: `block`: every decoder layer, which takes about a third more time and far less memory; the numbers are the same.',
  }),
  eval_strategy: Type.Optional(
    Type.Union([Type.Literal('no'), Type.Literal('steps'), Type.Literal('epoch')], { description: 'When to evaluate. Default: `steps` with `eval_steps`, else `epoch`.' }),
  ),
  eval_steps: Type.Optional(Type.Integer({ minimum: 1, description: 'Evaluate every so many steps.' })),
  eval_on_start: Type.Boolean({ default: true, description: 'Evaluate before the first step too.' }),
  early_stopping_patience: Type.Optional(Type.Integer({ minimum: 1, description: 'Stop after so many evaluations in a row without a lower loss.' })),
  early_stopping_threshold: Type.Number({ minimum: 0, default: 0, description: 'By how much a loss must be lower to count as lower.' }),
  load_best_model_at_end: Type.Boolean({ default: false, description: 'End with the trainables of the checkpoint whose evaluation loss was lowest.' }),
  save_strategy: Type.Optional(
    Type.Union([Type.Literal('no'), Type.Literal('steps'), Type.Literal('epoch')], { description: 'When to write checkpoints. Default: `steps` with `save_steps`, else `epoch`.' }),
  ),
  save_steps: Type.Optional(Type.Integer({ minimum: 1, description: 'Write a checkpoint every so many steps.' })),
  save_total_limit: Type.Integer({ minimum: 1, default: 2, description: 'How many checkpoints are kept, the newest; the best one is kept beside them.' }),
};

export type TrainingOptions = Static<TObject<typeof trainingOptions>>;

/** When something happens: never, every so many steps, or at the end of each epoch. */
export type Rhythm = { readonly every: 'epoch' } | { readonly every: number } | undefined;

export interface TrainingSettings extends TrainingOptions {
  readonly evaluate: Rhythm;
  readonly save: Rhythm;
}

/**
 * Options that contradict each other are refused, never ignored.
 * @param trainer the plugin's name, for messages
 * @throws GraftError `OPTIONS_CONFLICT` with the option at fault
 */
export function settingsOf(options: TrainingOptions, trainer: string): TrainingSettings {
  const conflict = (option: string, reason: string, hint: string): GraftError => new GraftError('OPTIONS_CONFLICT', `train ${trainer}: ${reason}.`, { option: [option], hint });
  if (options.batch_size !== undefined && options.batch_tokens !== undefined) throw conflict('batch_tokens', 'batch_size and batch_tokens both say how large a step is', 'Keep one of them.');
  if (options.warmup_steps > 0 && options.warmup_ratio > 0) throw conflict('warmup_ratio', 'warmup_steps and warmup_ratio both say how long the warm-up is', 'Keep one of them.');
  if (options.lr_scheduler_type === 'constant' && options.warmup_steps + options.warmup_ratio > 0) {
    throw conflict('lr_scheduler_type', 'the constant schedule has no warm-up', 'Use constant_with_warmup, or leave the warm-up out.');
  }
  if (options.early_stopping_threshold > 0 && options.early_stopping_patience === undefined) {
    throw conflict('early_stopping_threshold', 'early_stopping_threshold has no effect without early_stopping_patience', 'Add early_stopping_patience, or leave the threshold out.');
  }
  const evaluate = rhythm('eval', options.eval_strategy, options.eval_steps, conflict);
  const save = rhythm('save', options.save_strategy, options.save_steps, conflict);
  if (evaluate === undefined && options.early_stopping_patience !== undefined) throw conflict('early_stopping_patience', 'early stopping needs evaluations, and eval_strategy is no', 'Set eval_strategy to epoch or steps.');
  if (options.load_best_model_at_end && (evaluate === undefined || save === undefined)) {
    throw conflict('load_best_model_at_end', 'the best checkpoint needs evaluations and checkpoints', 'Set eval_strategy and save_strategy to epoch or steps.');
  }
  return { ...options, evaluate, save };
}

function rhythm(kind: 'eval' | 'save', strategy: 'no' | 'steps' | 'epoch' | undefined, steps: number | undefined, conflict: (option: string, reason: string, hint: string) => GraftError): Rhythm {
  if (strategy === 'steps' && steps === undefined) throw conflict(`${kind}_strategy`, `${kind}_strategy is steps, and ${kind}_steps does not say how many`, `Add ${kind}_steps.`);
  if (strategy !== undefined && strategy !== 'steps' && steps !== undefined) throw conflict(`${kind}_steps`, `${kind}_steps has no effect while ${kind}_strategy is ${strategy}`, `Set ${kind}_strategy to steps, or leave ${kind}_steps out.`);
  if (strategy === 'no') return undefined;
  return steps === undefined ? { every: 'epoch' } : { every: steps };
}
