import type { CausalLM, ForwardOptions, PackedBatch } from '../../contracts/index.ts';
import * as tf from '@tensorflow/tfjs';
import type { Scalar } from '@tensorflow/tfjs-core';
import { concatPacked, trainedTokens } from '../../tensor/packed.ts';

/** A batch as the peers take it: rows of one length, padding where the mask is 0. */
export interface Rows {
  readonly input_ids: readonly (readonly number[])[];
  readonly attention_mask: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
}

/** The same without padding: one segment a row. */
export function packRows({ input_ids: ids, attention_mask: mask, labels }: Rows): PackedBatch {
  return concatPacked(
    ids.map((row, index) => {
      const kept = row.flatMap((_, at) => (mask[index]![at] === 1 ? [at] : []));
      return {
        inputIds: Int32Array.from(kept, (at) => row[at]!),
        labels: Int32Array.from(kept, (at) => labels[index]![at]!),
        offsets: Int32Array.of(0, kept.length),
      };
    }),
  );
}

/** The mean loss over trained tokens, as the peers report it. Call inside `tidy` or `valueAndGrads`. */
export function meanLoss(model: CausalLM, batch: PackedBatch, options: ForwardOptions): Scalar {
  return tf.div(tf.sum(model.loss(batch, options)), trainedTokens(batch));
}

export function meanLossValue(model: CausalLM, batch: PackedBatch, options: ForwardOptions): number {
  return tf.tidy(() => meanLoss(model, batch, options).dataSync()[0]!);
}

/** Logits of all rows of the batch, `[T, V]` in one array. */
export function logitsOf(model: CausalLM, batch: PackedBatch, options: ForwardOptions): Float32Array {
  return tf.tidy(() => {
    const hidden = model.forward(batch, options);
    return Float32Array.from(model.logits(hidden, { ...options, offsets: batch.offsets }).dataSync<'float32'>());
  });
}

/** The reference's logits `[rows, length, V]` where the mask is 1, in one array. */
export function referenceLogits(logits: readonly (readonly (readonly number[])[])[], { attention_mask: mask }: Pick<Rows, 'attention_mask'>): Float32Array {
  return Float32Array.from(logits.flatMap((row, index) => row.filter((_, at) => mask[index]![at] === 1).flat()));
}

/** The largest absolute difference of two arrays; NaN counts as infinite, as does another length. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return largest;
}
