/** AdamW and gradient clipping, to PyTorch's formulas. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Trainable } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import type { NamedTensor, NamedTensors } from './named-tensors.ts';

export interface AdamWOptions {
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.999. */
  readonly beta2?: number;
  /** Default 1e-8. */
  readonly eps?: number;
  /** Default 0.01; not applied to a trainable whose `decay` is false. */
  readonly weightDecay?: number;
}

/** What a resumed run needs to go on with the same numbers. */
export interface AdamWState {
  /** Steps taken. */
  readonly step: number;
  /** `<index>.<name>.exp_avg` and `.exp_avg_sq` of every trainable, in its shape: the moments themselves, which the next step changes. */
  readonly tensors: NamedTensors;
}

interface Slot {
  readonly trainable: Trainable;
  readonly expAvg: Float32Array;
  readonly expAvgSq: Float32Array;
}

/**
 * Decoupled weight decay Adam (Loshchilov and Hutter 2019), as torch.optim.AdamW computes it:
 *
 *     p = p (1 - lr wd);  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *     p = p - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 *
 * Moments live outside the backend, as float32: one pass over plain memory is faster than ten operations on each of many
 * small tensors, and the bits are the same on every backend.
 */
export class AdamW {
  readonly #slots: readonly Slot[];
  readonly #options: Required<AdamWOptions>;
  #step = 0;

  constructor(trainables: readonly Trainable[], options: AdamWOptions = {}) {
    this.#options = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, ...options };
    this.#slots = trainables.map((trainable) => ({
      trainable,
      expAvg: new Float32Array(trainable.variable.size),
      expAvgSq: new Float32Array(trainable.variable.size),
    }));
  }

  /** Steps taken. */
  get step(): number {
    return this.#step;
  }

  /**
   * Takes one step.
   * @param gradients one for each trainable, in their order; not disposed
   * @param learningRate of this step
   * @param scale multiplies every gradient first: what clipping and the mean over trained tokens come to
   */
  apply(gradients: readonly Tensor[], learningRate: number, scale = 1): void {
    if (gradients.length !== this.#slots.length) throw new RangeError(`AdamW has ${this.#slots.length} trainables and was given ${gradients.length} gradients.`);
    this.#step++;
    this.#slots.forEach((slot, i) => this.#update(slot, gradients[i]!.dataSync<'float32'>(), learningRate, scale));
  }

  #update({ trainable, expAvg, expAvgSq }: Slot, gradient: Float32Array, learningRate: number, scale: number): void {
    const { beta1, beta2, eps, weightDecay } = this.#options;
    const { variable, decay } = trainable;
    const kept = 1 - (decay === false ? 0 : learningRate * weightDecay);
    const stepSize = learningRate / (1 - beta1 ** this.#step);
    const correction = Math.sqrt(1 - beta2 ** this.#step);
    const values = variable.dataSync<'float32'>().slice();
    for (let i = 0; i < values.length; i++) {
      const g = gradient[i]! * scale;
      expAvg[i] = beta1 * expAvg[i]! + (1 - beta1) * g;
      expAvgSq[i] = beta2 * expAvgSq[i]! + (1 - beta2) * g * g;
      values[i] = values[i]! * kept - (stepSize * expAvg[i]!) / (Math.sqrt(expAvgSq[i]!) / correction + eps);
    }
    const next = tf.tensor(values, variable.shape, 'float32');
    variable.assign(next);
    next.dispose();
  }

  exportState(): AdamWState {
    const tensors = new Map<string, NamedTensor>();
    for (const [i, { trainable, expAvg, expAvgSq }] of this.#slots.entries()) {
      tensors.set(`${i}.${trainable.name}.exp_avg`, { shape: trainable.variable.shape, values: expAvg });
      tensors.set(`${i}.${trainable.name}.exp_avg_sq`, { shape: trainable.variable.shape, values: expAvgSq });
    }
    return { step: this.#step, tensors };
  }

  /**
   * Goes on from an exported state, which is copied.
   * @throws GraftError `OPTIMIZER_STATE` where a moment is missing or of another shape
   */
  importState({ step, tensors }: AdamWState): void {
    for (const [i, { trainable, expAvg, expAvgSq }] of this.#slots.entries()) {
      for (const [kind, values] of [['exp_avg', expAvg], ['exp_avg_sq', expAvgSq]] as const) {
        const saved = tensors.get(`${i}.${trainable.name}.${kind}`);
        if (saved === undefined || !tf.util.arraysEqual([...saved.shape], trainable.variable.shape)) {
          throw new GraftError('OPTIMIZER_STATE', `The optimizer state has ${saved === undefined ? 'no' : `a [${saved.shape.join(', ')}]`} ${trainable.name}.${kind}; [${trainable.variable.shape.join(', ')}] is needed.`, {
            hint: 'It belongs to another config: resume with the config that the checkpoint was made with.',
          });
        }
        values.set(saved.values);
      }
    }
    this.#step = step;
  }
}

/** The 2-norm over all gradients together, before clipping. */
export function globalNorm(gradients: readonly Tensor[]): number {
  let sum = 0;
  for (const gradient of gradients) {
    const values = gradient.dataSync<'float32'>();
    let partial = 0;
    for (let i = 0; i < values.length; i++) partial += values[i]! * values[i]!;
    sum += partial;
  }
  return Math.sqrt(sum);
}

/** What clipping multiplies gradients of norm `norm` by: `min(1, maxNorm / (norm + 1e-6))`, as torch.nn.utils.clip_grad_norm_. */
export function clipScale(norm: number, maxNorm: number): number {
  return Math.min(1, maxNorm / (norm + 1e-6));
}
