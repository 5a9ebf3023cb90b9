import { setImmediate } from 'node:timers/promises';
import { globalNorm, GraftError, tf, trainedTokens, valueAndGrads, type CausalLM, type Packed, type Trainable } from 'graft';
import { microBatches } from './batches.ts';

export interface StepGradients {
  /** Mean over the step's trained tokens, in nats. */
  readonly loss: number;
  /** One per trainable, in their order; the caller disposes them. */
  readonly gradients: readonly tf.Tensor[];
  /** L2 norm over all of them. */
  readonly norm: number;
  readonly tokens: number;
  readonly trainedTokens: number;
  /** Forward passes made. */
  readonly passes: number;
}

export interface StepInput {
  readonly model: CausalLM;
  readonly stack: string;
  readonly trainables: readonly Trainable[];
  readonly sequences: readonly Packed[];
  readonly maxTokens: number;
  /** Names the dropout masks: pass i of the step is forward pass `firstPass + i` of the run. */
  readonly seed: number;
  readonly firstPass: number;
}

/**
 * Loss and gradients of one step:
 *
 *     L = sum of token losses / trained tokens, both over the whole step
 *
 * accumulated over forward passes of at most `maxTokens` tokens. Dividing by the whole step's count, not by each pass's,
 * makes the result that of one large pass however it is split.
 */
export async function stepGradients({ model, stack, trainables, sequences, maxTokens, seed, firstPass }: StepInput): Promise<StepGradients> {
  const variables = trainables.map(({ variable }) => variable);
  const tokens = sequences.reduce((sum, sequence) => sum + sequence.inputIds.length, 0);
  const trained = sequences.reduce((sum, sequence) => sum + trainedTokens(sequence), 0);
  let gradients: readonly tf.Tensor[] = [];
  let loss = 0;
  let passes = 0;
  for (const batch of microBatches(sequences, maxTokens)) {
    const training = { seed, step: firstPass + passes++ };
    const { value, grads } = valueAndGrads(() => tf.sum(model.loss(batch, { stack, training })).div<tf.Scalar>(trained), variables);
    loss += value.dataSync<'float32'>()[0]!;
    value.dispose();
    gradients = accumulate(gradients, grads);
    // Requests, signals and the progress bar get their turn between passes.
    await setImmediate();
  }
  return { loss, gradients, norm: globalNorm(gradients), tokens, trainedTokens: trained, passes };
}

/** Adds, and disposes what was added. */
function accumulate(sums: readonly tf.Tensor[], terms: readonly tf.Tensor[]): readonly tf.Tensor[] {
  if (sums.length === 0) return terms;
  return sums.map((sum, i) => {
    const total = tf.add(sum, terms[i]!);
    tf.dispose([sum, terms[i]!]);
    return total;
  });
}

/** What is known when a step comes out as NaN or infinite. */
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
export function assertFinite(result: StepGradients, trainables: readonly Trainable[], { step, learningRate, recentLosses, checkpointStep }: Circumstances): void {
  if (Number.isFinite(result.loss) && Number.isFinite(result.norm)) return;
  const worst = trainables.find((_, i) => !Number.isFinite(globalNorm([result.gradients[i]!])));
  const lossFailed = !Number.isFinite(result.loss);
  const what = lossFailed ? `The loss of step ${step} is ${result.loss}` : `The gradient of step ${step} is not finite`;
  const where = worst === undefined ? '' : `; the first trainable whose gradient is not finite is ${worst.name}`;
  const before = recentLosses.length === 0 ? 'it is the first step' : `the last losses were ${recentLosses.map((loss) => loss.toFixed(4)).join(', ')}`;
  const kept = checkpointStep === undefined ? 'No checkpoint had been written.' : `The checkpoint of step ${checkpointStep} is kept.`;
  throw new GraftError(lossFailed ? 'LOSS_NOT_FINITE' : 'GRADIENT_NOT_FINITE', `${what}${where}. The learning rate was ${learningRate}; ${before}.`, {
    hint: `${kept} Lower learning_rate or max_grad_norm, lengthen the warm-up, or look for a broken example in the data.`,
  });
}
