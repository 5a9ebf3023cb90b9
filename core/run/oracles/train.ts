import type { CausalLM, PackedBatch, Trainable } from '../../contracts/index.ts';
import { AdamW, clipScale, globalNorm } from '../../tensor/adamw.ts';
import { valueAndGrads } from '../../tensor/tape.ts';
import { meanLoss } from './rows.ts';

export interface Optimizer {
  readonly learningRate: number;
  readonly weightDecay: number;
  /** Largest norm of all gradients together. */
  readonly clip: number;
}

/** The optimizer of peft/ and adapterhub/. */
export const METHOD_OPTIMIZER: Optimizer = { learningRate: 1e-2, weightDecay: 0.01, clip: 1 };

/**
 * Trains as the reference did, dropout off.
 * @returns the loss before each step, and the norm of the first gradient before clipping
 */
export function trainSteps(model: CausalLM, stack: string, trainables: readonly Trainable[], batches: readonly PackedBatch[], optimizer: Optimizer): { readonly losses: readonly number[]; readonly firstNorm: number } {
  const adamw = new AdamW(trainables, { weightDecay: optimizer.weightDecay });
  const losses: number[] = [];
  const norms: number[] = [];
  for (const batch of batches) {
    const { value, grads } = valueAndGrads(() => meanLoss(model, batch, { stack }), trainables.map((trainable) => trainable.variable));
    losses.push(value.dataSync()[0]!);
    const norm = globalNorm(grads);
    norms.push(norm);
    adamw.apply(grads, optimizer.learningRate, clipScale(norm, optimizer.clip));
    value.dispose();
    for (const grad of grads) grad.dispose();
  }
  return { losses, firstNorm: norms[0]! };
}
