import * as tf from '@tensorflow/tfjs';
import type { CausalLM, Graft, PackedBatch } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';

/** Logits in float32 differ by rounding alone; relative to the largest of them. */
const TOLERANCE = 1e-3;

/**
 * Folds the grafts of a stack into the base for good and takes them off, so that the base alone computes what the stack did.
 * @returns the largest difference of a logit before and after, on a probe of the model
 * @throws GraftError `MERGE_UNSUPPORTED` where a graft can't be folded, before anything is changed; `MERGE_DIFFERS` where
 *   the merged weights do not compute the same
 */
export async function mergeGrafts(model: CausalLM, stack: string, grafts: readonly Graft[]): Promise<number> {
  for (const graft of grafts) {
    if (graft.merge !== undefined) continue;
    throw new GraftError('MERGE_UNSUPPORTED', `${graft.name} can't be folded into the weights: what it adds is not a linear function of a layer's input.`, {
      hint: 'Keep it beside the base: `graft generate` and `graft serve` use it as it is.',
    });
  }
  const probe = probeOf(model);
  const before = logits(model, probe, stack);
  // What replaces a weight goes before what is added to it.
  const replaces = (graft: Graft): boolean => graft.trainables.some(({ name }) => model.parameters.has(name));
  for (const graft of [...grafts].sort((a, b) => Number(replaces(b)) - Number(replaces(a)))) await graft.merge?.();
  for (const graft of [...grafts].reverse()) graft.remove();
  const after = logits(model, probe, undefined);
  const scale = before.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
  const difference = before.reduce((largest, value, index) => Math.max(largest, Math.abs(value - after[index]!)), 0);
  if (difference <= TOLERANCE * scale) return difference;
  throw new GraftError('MERGE_DIFFERS', `The merged weights give logits that differ by ${difference.toExponential(1)} from those of the adapters.`, {
    hint: 'Load the base with f32 weights: a coarser type rounds the change away.',
  });
}

/** Two short sequences over the vocabulary. */
function probeOf(model: CausalLM): PackedBatch {
  const length = Math.min(16, model.config.max_position_embeddings);
  const at = Array.from({ length: 2 * length }, (_, index) => index);
  return {
    inputIds: Int32Array.from(at, (index) => (index * 7919 + 1) % model.config.vocab_size),
    labels: Int32Array.from(at, () => -100),
    offsets: Int32Array.of(0, length, 2 * length),
    positions: Int32Array.from(at, (index) => index % length),
  };
}

function logits(model: CausalLM, batch: PackedBatch, stack: string | undefined): Float32Array {
  return tf.tidy(() => Float32Array.from(model.logits(model.forward(batch, { stack }), { stack, offsets: batch.offsets }).dataSync<'float32'>()));
}
