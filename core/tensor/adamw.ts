/** AdamW and gradient clipping, to PyTorch's formulas. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { AdamWMoments, AdamWUpdater, EngineOptimizer, Trainable } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import type { NamedTensor, NamedTensors } from './named-tensors.ts';
import { portableOptimizer, sumOfSquares } from './portable-optimizer.ts';

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
  /** `<index>.<name>.exp_avg` and `.exp_avg_sq` of every trainable, in its shape; may be the moments themselves, which the next step changes. */
  readonly tensors: NamedTensors;
}

/**
 * Decoupled weight decay Adam (Loshchilov and Hutter 2019), as torch.optim.AdamW computes it:
 *
 *     p = p (1 - lr wd);  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *     p = p - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 */
export class AdamW {
  readonly #trainables: readonly Trainable[];
  readonly #options: Required<AdamWOptions>;
  readonly #updater: AdamWUpdater;
  #step = 0;

  /** @param optimizer the engine's, where it has one */
  constructor(trainables: readonly Trainable[], options: AdamWOptions = {}, optimizer: EngineOptimizer = portableOptimizer) {
    this.#options = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, ...options };
    this.#trainables = trainables;
    this.#updater = optimizer.adamw(trainables.map(({ variable }) => variable));
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
    if (gradients.length !== this.#trainables.length) throw new RangeError(`AdamW has ${this.#trainables.length} trainables and was given ${gradients.length} gradients.`);
    this.#step++;
    const { beta1, beta2, eps, weightDecay } = this.#options;
    const kept = this.#trainables.map(({ decay }) => 1 - (decay === false ? 0 : learningRate * weightDecay));
    this.#updater.update(gradients, { beta1, beta2, eps, stepSize: learningRate / (1 - beta1 ** this.#step), correction: Math.sqrt(1 - beta2 ** this.#step), scale, kept });
  }

  exportState(): AdamWState {
    const tensors = new Map<string, NamedTensor>();
    const moments = this.#updater.moments();
    for (const [i, { name, variable }] of this.#trainables.entries()) {
      tensors.set(`${i}.${name}.exp_avg`, { shape: variable.shape, values: moments[i]!.expAvg });
      tensors.set(`${i}.${name}.exp_avg_sq`, { shape: variable.shape, values: moments[i]!.expAvgSq });
    }
    return { step: this.#step, tensors };
  }

  /**
   * Goes on from an exported state, which is copied.
   * @throws GraftError `OPTIMIZER_STATE` where a moment is missing or of another shape
   */
  importState({ step, tensors }: AdamWState): void {
    const momentOf = (index: number, { name, variable }: Trainable, kind: string): Float32Array => {
      const saved = tensors.get(`${index}.${name}.${kind}`);
      if (saved === undefined || !tf.util.arraysEqual([...saved.shape], variable.shape)) {
        throw new GraftError('OPTIMIZER_STATE', `The optimizer state has ${saved === undefined ? 'no' : `a [${saved.shape.join(', ')}]`} ${name}.${kind}; [${variable.shape.join(', ')}] is needed.`, {
          hint: 'It belongs to another config: resume with the config that the checkpoint was made with.',
        });
      }
      return saved.values;
    };
    this.#updater.setMoments(this.#trainables.map((trainable, i): AdamWMoments => ({ expAvg: momentOf(i, trainable, 'exp_avg'), expAvgSq: momentOf(i, trainable, 'exp_avg_sq') })));
    this.#step = step;
  }

  /** Frees what the engine holds for it. */
  dispose(): void {
    this.#updater.dispose();
  }
}

/** The 2-norm over all gradients together, before clipping; waits for them, where `EngineOptimizer.norm` lets the event loop go on. */
export function globalNorm(gradients: readonly Tensor[]): number {
  let sum = 0;
  for (const gradient of gradients) sum += sumOfSquares(gradient.dataSync<'float32'>());
  return Math.sqrt(sum);
}

/** What clipping multiplies gradients of norm `norm` by: `min(1, maxNorm / (norm + 1e-6))`, as torch.nn.utils.clip_grad_norm_. */
export function clipScale(norm: number, maxNorm: number): number {
  return Math.min(1, maxNorm / (norm + 1e-6));
}
