/** The output layer: logits, and the loss of predicted tokens. */
import { fused, IGNORED, tf, type FusedOps } from 'graft';
import type { LlamaConfig } from './config.ts';
import { linearSite, runLinear } from './decoder-layer.ts';
import type { LlamaParameter } from './parameter.ts';
import { perStack, type Pass } from './pass.ts';
import { takeIntegers } from './rows.ts';
import type { LlamaSite } from './site.ts';

/** Logits held at once when they go through a graft, in elements: 8 MiB of float32. */
const CHUNK_ELEMENTS = 2 ** 21;

export class Head {
  readonly site: LlamaSite;
  readonly #weight: LlamaParameter;
  readonly #ops: FusedOps;

  /** @param weight `[V, d]`; the embedding itself where the two are tied */
  constructor(config: LlamaConfig, weight: LlamaParameter, ops: FusedOps) {
    this.site = linearSite('lm_head', config.hidden_size, config.vocab_size, weight, undefined, ops);
    this.#weight = weight;
    this.#ops = ops;
  }

  /** hidden `[R, d]` -> `[R, V]` */
  logits(hidden: tf.Tensor2D, pass: Pass): tf.Tensor2D {
    return runLinear(this.site, hidden, pass, this.#ops);
  }

  /** Cross-entropy of each row in nats, 0 where targets `[T]` is -100: hidden `[T, d]` -> `[T]`. */
  losses(hidden: tf.Tensor2D, targets: Int32Array, pass: Pass): tf.Tensor1D {
    const grafted = (stack: string) => this.site.isGraftedIn(stack);
    return perStack(hidden, pass, (stack) => grafted(stack) || this.#weight.isThawedIn(stack), (rows, { stack, pass: part, runs }) => {
      const ofRows = takeIntegers(targets, runs);
      if (stack === undefined || !grafted(stack)) return this.#ops.crossEntropy(rows, this.#weight.matrix(stack), ofRows);
      return this.#graftedLosses(rows, ofRows, part);
    });
  }

  /** Only rows with a target go through the site, a chunk at a time. */
  #graftedLosses(hidden: tf.Tensor2D, targets: Int32Array, pass: Pass): tf.Tensor1D {
    const [tokens] = hidden.shape;
    const rows = Int32Array.from(targets.keys()).filter((row) => targets[row] !== IGNORED);
    if (rows.length === 0) return tf.zeros([tokens]);
    const size = Math.max(1, Math.floor(CHUNK_ELEMENTS / this.site.shape.outFeatures));
    const losses: tf.Tensor1D[] = [];
    for (let start = 0; start < rows.length; start += size) {
      const chunk = rows.subarray(start, start + size);
      const logits = this.logits(tf.gather(hidden, tf.tensor1d(chunk, 'int32')), pass.ofRows(chunk));
      losses.push(crossEntropy(logits, chunk.map((row) => targets[row]!)));
    }
    const places = new Int32Array(tokens).fill(rows.length);
    rows.forEach((row, i) => (places[row] = i));
    return tf.gather(tf.concat([...losses, tf.zeros([1])]), tf.tensor1d(places, 'int32')) as tf.Tensor1D;
  }
}

/** Of each row in nats: logits `[R, V]`, classes `[R]` -> `[R]`. Backward: `dlogits = dloss (softmax - onehot)`. */
function crossEntropy(logits: tf.Tensor2D, classes: Int32Array): tf.Tensor1D {
  const oneHot = () => tf.cast(tf.oneHot(tf.tensor1d(classes, 'int32'), logits.shape[1]), 'float32') as tf.Tensor2D;
  return fused<'logits', tf.Tensor1D>({
    inputs: { logits },
    forward: (wants) => ({
      value: tf.sub(tf.logSumExp(logits, 1), tf.sum(tf.mul(logits, oneHot()), 1)),
      saved: wants('logits') ? [tf.softmax(logits)] : [],
    }),
    backward: (dy, saved) => ({ logits: tf.mul(tf.sub(saved[0]!, oneHot()), tf.reshape(dy, [-1, 1])) }),
  });
}

