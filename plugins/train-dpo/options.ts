import { GraftError, trainingOptions, Type, type Static } from 'graft';

/** The options of `use: dpo`, in TRL's names. */
export const dpoOptions = Type.Object(
  {
    ...trainingOptions,
    learning_rate: Type.Number({ ...trainingOptions.learning_rate, default: 1e-5 }),
    batch_size: Type.Optional(Type.Integer({ minimum: 1, description: 'Pairs in a step. Without it and `batch_tokens`: 8.' })),
    batch_tokens: Type.Optional(Type.Integer({ minimum: 1, description: 'Tokens in a step at most, both halves of a pair counted (a longer pair is a step of its own). Instead of `batch_size`.' })),
    micro_batch_tokens: Type.Integer({ minimum: 1, default: 2048, description: 'Tokens in one forward and backward pass at most, both halves of a pair counted; a longer pair is a pass of its own. Smaller takes less memory, and changes nothing else.' }),
    beta: Type.Number({ exclusiveMinimum: 0, default: 0.1, description: 'How strongly the model is held to the reference: the factor of the log ratios; for `ipo` its regularization.' }),
    loss_type: Type.Union([Type.Literal('sigmoid'), Type.Literal('hinge'), Type.Literal('ipo'), Type.Literal('robust')], {
      default: 'sigmoid',
      description: 'The loss of a pair: `sigmoid` (DPO), `hinge` (SLiC), `ipo` (IPO, by mean log probabilities of a token), `robust` (DPO where a share `label_smoothing` of the preferences is wrong).',
    }),
    label_smoothing: Type.Number({ minimum: 0, exclusiveMaximum: 0.5, default: 0, description: 'For `loss_type: robust`: the share of preferences that are thought to be the wrong way round.' }),
  },
  { additionalProperties: false },
);

export type DpoOptions = Static<typeof dpoOptions>;

/** @throws GraftError `OPTIONS_CONFLICT` where an option has no effect */
export function checkDpoOptions({ loss_type, label_smoothing }: DpoOptions): void {
  if (loss_type === 'robust' || label_smoothing === 0) return;
  throw new GraftError('OPTIONS_CONFLICT', `train dpo: label_smoothing has no effect while loss_type is ${loss_type}.`, { option: ['label_smoothing'], hint: 'Set loss_type to robust, or leave label_smoothing out.' });
}
