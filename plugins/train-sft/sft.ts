import { GraftError, segmentsOf, trainedTokens, trainingOptions, Type, type CausalLM, type Objective } from 'graft';

/** The options of `use: sft`. */
export const sftOptions = Type.Object(trainingOptions, { additionalProperties: false });

/** Supervised fine-tuning: the mean loss of the trained tokens, in nats. */
export function sft(model: Pick<CausalLM, 'loss'>): Objective {
  return {
    name: 'sft',
    perToken: true,
    check: ({ preferences }) => {
      if (preferences !== true) return;
      throw new GraftError('PREFERENCES_GIVEN', 'train sft learns every completion, and the data are pairs of a preferred completion and another.', {
        hint: 'Use `train: { use: dpo }` for pairs, or the preprocess plugin `instruct` for data to imitate.',
      });
    },
    weight: trainedTokens,
    divide: segmentsOf,
    losses: ({ batch }, options) => ({ losses: model.loss(batch, options) }),
  };
}
