/** The optimizer's arithmetic in plain JavaScript, for engines that have none of their own, and as its definition. */
import * as tf from '@tensorflow/tfjs';
import type { Variable } from '@tensorflow/tfjs-core';
import type { AdamWMoments, AdamWStep, AdamWUpdater, EngineOptimizer } from '../contracts/index.ts';

/** In double precision. */
export function sumOfSquares(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  return sum;
}

/** One step of one variable: a gradient, its moments (changed), the values before (changed). Sums in double precision, float32 where stored. */
function update(gradient: Float32Array, { expAvg, expAvgSq }: AdamWMoments, values: Float32Array, { beta1, beta2, eps, stepSize, correction, scale }: AdamWStep, kept: number): void {
  for (let i = 0; i < values.length; i++) {
    const g = gradient[i]! * scale;
    expAvg[i] = beta1 * expAvg[i]! + (1 - beta1) * g;
    expAvgSq[i] = beta2 * expAvgSq[i]! + (1 - beta2) * g * g;
    values[i] = values[i]! * kept - (stepSize * expAvg[i]!) / (Math.sqrt(expAvgSq[i]!) / correction + eps);
  }
}

/**
 * Moments live outside the backend, as float32: one pass over plain memory is faster than ten operations on each of many
 * small tensors, and the bits are the same on every backend.
 */
function portableAdamW(variables: readonly Variable[]): AdamWUpdater {
  const moments = variables.map(({ size }): AdamWMoments => ({ expAvg: new Float32Array(size), expAvgSq: new Float32Array(size) }));
  return {
    update: (gradients, step) => {
      variables.forEach((variable, i) => {
        const values = variable.dataSync<'float32'>().slice();
        update(gradients[i]!.dataSync<'float32'>(), moments[i]!, values, step, step.kept[i]!);
        const next = tf.tensor(values, variable.shape, 'float32');
        variable.assign(next);
        next.dispose();
      });
    },
    moments: () => moments,
    setMoments: (given) => {
      moments.forEach(({ expAvg, expAvgSq }, i) => {
        expAvg.set(given[i]!.expAvg);
        expAvgSq.set(given[i]!.expAvgSq);
      });
    },
    dispose: () => {},
  };
}

export const portableOptimizer: EngineOptimizer = {
  norm: async (gradients) => {
    let sum = 0;
    for (const gradient of gradients) sum += sumOfSquares(await gradient.data<'float32'>());
    return Math.sqrt(sum);
  },
  adamw: portableAdamW,
};
