import { setImmediate } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs-core';
import type { Packed } from '../contracts/index.ts';
import { trainedTokens } from '../tensor/packed.ts';
import { passesOf } from './batches.ts';
import { doubleSum, MetricSums, type Metrics } from './metrics.ts';
import type { Objective } from './objective.ts';

export interface Evaluation {
  /** Mean, by weight. */
  readonly loss: number;
  readonly metrics: Metrics;
  readonly trainedTokens: number;
}

/**
 * The loss on held-out sequences, without dropout and without a backward. Losses are summed in double precision, so the
 * result hardly depends on `maxTokens`.
 */
export async function evaluate(objective: Objective, stack: string, sequences: readonly Packed[], maxTokens: number): Promise<Evaluation> {
  let sum = 0;
  let weight = 0;
  const metrics = new MetricSums();
  for (const pass of passesOf(objective, sequences, maxTokens)) {
    await objective.prepare?.(pass.sequences);
    const made = tf.tidy(() => ({ ...objective.losses(pass, { stack }) }));
    sum += await doubleSum(made.losses);
    await metrics.add(made.metrics);
    // One tensor may be both.
    tf.dispose(made);
    weight += pass.sequences.reduce((total, sequence) => total + objective.weight(sequence), 0);
    await setImmediate();
  }
  return { loss: sum / weight, metrics: metrics.over(weight), trainedTokens: sequences.reduce((total, sequence) => total + trainedTokens(sequence), 0) };
}
