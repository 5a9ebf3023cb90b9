import { concatPacked, GraftError, segmentsOf, tf, trainedTokens, type CausalLM, type ForwardOptions, type Objective, type Packed, type PackedBatch } from 'graft';
import type { DpoOptions } from './options.ts';

type PairLossOptions = Pick<DpoOptions, 'beta' | 'loss_type' | 'label_smoothing'>;

/**
 * Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290). With a prompt x, a preferred completion y+ and another y-,
 * the model p that is trained and the reference q, which is the base without its grafts:
 *
 *     r(y) = log p(y | x) - log q(y | x)
 *     sigmoid   L = -log sigmoid(beta (r(y+) - r(y-)))
 *     hinge     L = max(0, 1 - beta (r(y+) - r(y-)))                            Zhao et al. 2023, arXiv:2305.10425
 *     ipo       L = (r(y+) / |y+| - r(y-) / |y-| - 1 / (2 beta))^2              Azar et al. 2023, arXiv:2310.12036
 *     robust    L = ((1 - e) L_sigmoid(y+, y-) - e L_sigmoid(y-, y+)) / (1 - 2 e), e = label_smoothing     Chowdhury et al. 2024, arXiv:2403.00409
 *
 * as TRL computes them; the loss of a step is the mean over its pairs. Told beside it are TRL's `rewards/chosen` and
 * `rewards/rejected`, the means of beta r; `rewards/margins`, of their difference; `rewards/accuracies`, of how often it is above 0.
 *
 * The log probabilities of the reference are computed once for each pair, in a pass of the pair alone: what they are does not
 * depend on which pairs a step has beside it.
 */
export function dpo(model: Pick<CausalLM, 'loss'>, options: PairLossOptions): Objective {
  const pairToReference = new WeakMap<Packed, readonly [chosen: number, rejected: number]>();

  async function reference(pair: Packed): Promise<readonly [number, number]> {
    const sums = tf.tidy(() => logProbabilities(model, concatPacked([pair]), {}));
    const [chosen, rejected] = await sums.data<'float32'>();
    sums.dispose();
    return [chosen!, rejected!];
  }

  return {
    name: 'dpo',
    measure: JSON.stringify([options.loss_type, options.beta, options.label_smoothing]),
    perToken: false,
    check: ({ preferences, train, eval: held }) => {
      if (preferences === true && [...train, ...held].every(({ offsets }) => offsets.length === 3)) return;
      throw new GraftError('PREFERENCES_MISSING', 'train dpo compares two completions of a prompt, and the data are not pairs.', {
        hint: 'Use the preprocess plugin `preference`, or `train: { use: sft }` for data to imitate.',
      });
    },
    weight: (pair) => (Math.min(...lengthsOf(pair)) > 0 ? 1 : 0),
    divide: (pair) => [pair],
    prepare: async (pairs) => {
      for (const pair of pairs) if (!pairToReference.has(pair)) pairToReference.set(pair, await reference(pair));
    },
    losses: ({ sequences, batch }, forward) => {
      const count = sequences.length;
      const references = sequences.map((pair) => pairToReference.get(pair)!);
      const ratios = logProbabilities(model, batch, forward).sub(tf.tensor1d(references.flat())).reshape<tf.Tensor2D>([count, 2]);
      const [chosen, rejected] = tf.unstack(ratios, 1) as [tf.Tensor1D, tf.Tensor1D];
      const rewards = { 'rewards/chosen': chosen.mul<tf.Tensor1D>(options.beta), 'rewards/rejected': rejected.mul<tf.Tensor1D>(options.beta) };
      const margins = rewards['rewards/chosen'].sub<tf.Tensor1D>(rewards['rewards/rejected']);
      return {
        losses: options.loss_type === 'ipo' ? ipo(chosen, rejected, sequences, options.beta) : pairLosses(margins, options),
        metrics: { ...rewards, 'rewards/accuracies': margins.greater(0).cast<tf.Tensor1D>('float32'), 'rewards/margins': margins },
      };
    },
  };
}

/** Log probability of what each segment is trained on, `[2 pairs]`: chosen, rejected, chosen... */
function logProbabilities(model: Pick<CausalLM, 'loss'>, batch: PackedBatch, options: ForwardOptions): tf.Tensor1D {
  const segments = batch.offsets.length - 1;
  const tokenToSegment = new Int32Array(batch.inputIds.length);
  for (let segment = 0; segment < segments; segment++) tokenToSegment.fill(segment, batch.offsets[segment], batch.offsets[segment + 1]);
  return tf.neg(tf.unsortedSegmentSum(model.loss(batch, options), tf.tensor1d(tokenToSegment, 'int32'), segments));
}

/** @param margins beta (r(y+) - r(y-)) of each pair */
function pairLosses(margins: tf.Tensor1D, { loss_type, label_smoothing }: PairLossOptions): tf.Tensor1D {
  if (loss_type === 'hinge') return tf.relu(tf.sub<tf.Tensor1D>(1, margins));
  // -log sigmoid(m) = softplus(-m)
  const right = tf.softplus(tf.neg(margins));
  if (loss_type === 'sigmoid') return right;
  const wrong = tf.softplus(margins);
  return right.mul(1 - label_smoothing).sub(wrong.mul(label_smoothing)).div<tf.Tensor1D>(1 - 2 * label_smoothing);
}

function ipo(chosen: tf.Tensor1D, rejected: tf.Tensor1D, pairs: readonly Packed[], beta: number): tf.Tensor1D {
  const lengths = pairs.map(lengthsOf);
  const mean = (ratios: tf.Tensor1D, half: 0 | 1): tf.Tensor1D => ratios.div(tf.tensor1d(lengths.map((pair) => pair[half])));
  return mean(chosen, 0).sub<tf.Tensor1D>(mean(rejected, 1)).sub<tf.Tensor1D>(1 / (2 * beta)).square();
}

/** Tokens of each half that are trained on. */
function lengthsOf(pair: Packed): readonly [chosen: number, rejected: number] {
  const [chosen, rejected] = segmentsOf(pair);
  return [trainedTokens(chosen!), trainedTokens(rejected!)];
}
