import { setImmediate } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import type { EngineOptimizer, Packed, Trainable } from '../contracts/index.ts';
import { trainedTokens } from '../tensor/packed.ts';
import { valueAndGrads } from '../tensor/tape.ts';
import { passesOf } from './batches.ts';
import { MetricSums, type Metrics } from './metrics.ts';
import type { Objective, PassLosses } from './objective.ts';

export interface StepGradients {
  /** Mean over the step, by weight. */
  readonly loss: number;
  readonly metrics: Metrics;
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
  readonly objective: Objective;
  readonly stack: string;
  readonly trainables: readonly Trainable[];
  readonly optimizer: EngineOptimizer;
  readonly sequences: readonly Packed[];
  readonly maxTokens: number;
  readonly recompute: 'none' | 'block';
  /** Names the dropout masks: pass i of the step is forward pass `firstPass + i` of the run. */
  readonly seed: number;
  readonly firstPass: number;
}

/**
 * Loss and gradients of one step:
 *
 *     L = sum of losses / sum of weights, both over the whole step
 *
 * accumulated over forward passes of at most `maxTokens` tokens. Dividing by the whole step's weight, not by each pass's,
 * makes the result that of one large pass however it is split. Each pass is waited for before the next begins, so that what
 * two of them hold never adds up; an engine that computes beside this thread leaves the event loop free meanwhile.
 */
export async function stepGradients({ objective, stack, trainables, optimizer, sequences, maxTokens, recompute, seed, firstPass }: StepInput): Promise<StepGradients> {
  const variables = trainables.map(({ variable }) => variable);
  const tokens = sequences.reduce((sum, sequence) => sum + sequence.inputIds.length, 0);
  const trained = sequences.reduce((sum, sequence) => sum + trainedTokens(sequence), 0);
  const weight = sequences.reduce((sum, sequence) => sum + objective.weight(sequence), 0);
  const metrics = new MetricSums();
  let gradients: readonly tf.Tensor[] = [];
  let loss = 0;
  let passes = 0;
  for (const pass of passesOf(objective, sequences, maxTokens)) {
    await objective.prepare?.(pass.sequences);
    const training = { seed, step: firstPass + passes++ };
    let told: PassLosses['metrics'];
    const { value, grads } = valueAndGrads(() => {
      const made = objective.losses(pass, { stack, training, recompute });
      // They outlive the pass; the rest does not.
      told = made.metrics;
      Object.values(told ?? {}).forEach((values) => tf.keep(values));
      return tf.sum(made.losses).div<tf.Scalar>(weight);
    }, variables);
    gradients = accumulate(gradients, grads);
    loss += (await value.data<'float32'>())[0]!;
    value.dispose();
    await metrics.add(told);
    tf.dispose({ ...told });
    // Requests, signals and the progress bar get their turn between passes, whatever the engine.
    await setImmediate();
  }
  return { loss, metrics: metrics.over(weight), gradients, norm: await optimizer.norm(gradients), tokens, trainedTokens: trained, passes };
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
