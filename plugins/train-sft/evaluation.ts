import { setImmediate } from 'node:timers/promises';
import { tf, trainedTokens, type CausalLM, type Packed } from 'graft';
import { microBatches } from './batches.ts';

export interface Evaluation {
  /** Mean over trained tokens, in nats. */
  readonly loss: number;
  readonly trainedTokens: number;
}

/**
 * The loss on held-out sequences, without dropout and without a backward. Token losses are summed in double precision,
 * so the result hardly depends on `maxTokens`.
 */
export async function evaluate(model: CausalLM, stack: string, sequences: readonly Packed[], maxTokens: number): Promise<Evaluation> {
  let sum = 0;
  let tokens = 0;
  for (const batch of microBatches(sequences, maxTokens)) {
    const losses = tf.tidy(() => model.loss(batch, { stack }));
    sum += (await losses.data<'float32'>()).reduce((total, loss) => total + loss, 0);
    losses.dispose();
    tokens += trainedTokens(batch);
    await setImmediate();
  }
  return { loss: sum / tokens, trainedTokens: tokens };
}
