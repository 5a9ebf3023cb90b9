/** What a training is made of, checked before anything starts. */
import type { Packed, Trainable, TrainCall } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { weighty } from './batches.ts';
import type { Objective } from './objective.ts';
import type { TrainingOptions } from './options.ts';

/** Every graft's trainables, named by their graft too: two grafts may use one name. */
export function trainablesOf({ grafts }: Pick<TrainCall<TrainingOptions>, 'grafts'>): readonly Trainable[] {
  const trainables = grafts.flatMap((graft, index) => graft.trainables.map(({ name, variable, decay }) => ({ name: `${index}.${graft.name}.${name}`, variable, decay })));
  if (trainables.length === 0) {
    throw new GraftError('NOTHING_TO_TRAIN', 'No inject entry made anything trainable.', { hint: 'Add one under `inject:`, such as { use: lora }, or { use: full } to train the base itself.' });
  }
  return trainables;
}

/** The training sequences that have something to train on. */
export function sequencesOf({ dataset }: Pick<TrainCall<TrainingOptions>, 'dataset'>, objective: Objective): readonly Packed[] {
  objective.check(dataset);
  const sequences = weighty(objective, dataset.train);
  if (sequences.length === 0) {
    throw new GraftError('NO_TRAINED_TOKENS', `None of the ${dataset.train.length} training ${dataset.preferences === true ? 'pairs has a token to train on in both halves' : 'sequences has a token to train on'}.`, {
      hint: '`graft preview` shows what is trained on; a max_length that cuts the answers off is the usual cause.',
    });
  }
  return sequences;
}

/** The held-out sequences; may be none, unless an option needs them. */
export function evalSequencesOf({ dataset, config }: Pick<TrainCall<TrainingOptions>, 'dataset' | 'config'>, objective: Objective): readonly Packed[] {
  const sequences = weighty(objective, dataset.eval);
  const { early_stopping_patience, load_best_model_at_end, eval_steps, eval_strategy } = config;
  const asked = { early_stopping_patience, load_best_model_at_end: load_best_model_at_end || undefined, eval_steps, eval_strategy: eval_strategy === 'no' ? undefined : eval_strategy };
  const needs = Object.entries(asked).find(([, value]) => value !== undefined)?.[0];
  if (sequences.length === 0 && needs !== undefined) {
    throw new GraftError('NO_EVAL_DATA', `train ${objective.name}: ${needs} needs held-out data, and the dataset has none.`, { option: [needs], hint: 'Let the preprocess entry keep some for evaluation.' });
  }
  return sequences;
}
