import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { FusedOps, Weight } from '../../contracts/index.ts';
import { columnsOf, isFrozen, rowsOf } from '../frozen.ts';
import { fused } from '../fused.ts';
import { blockedProduct, product, rowBlocks } from '../matmul.ts';
import { addRows } from '../rows.ts';

/** Logits held at once, in elements: 8 MiB of float32. */
const CHUNK_ELEMENTS = 2 ** 21;

/** Rows that have a target, and their targets. */
function targeted(targets: Int32Array, vocabulary: number): { rows: Int32Array; classes: Int32Array } {
  const rows: number[] = [];
  targets.forEach((target, row) => {
    if (target >= vocabulary) throw new RangeError(`Target ${target} of row ${row} is outside the vocabulary of ${vocabulary}.`);
    if (target >= 0) rows.push(row);
  });
  return { rows: Int32Array.from(rows), classes: Int32Array.from(rows, (row) => targets[row]!) };
}

function chunks(count: number, vocabulary: number): { start: number; size: number }[] {
  const size = Math.max(1, Math.floor(CHUNK_ELEMENTS / vocabulary));
  return Array.from({ length: Math.ceil(count / size) }, (_, i) => ({ start: i * size, size: Math.min(size, count - i * size) }));
}

/**
 * From logits `[R, V]` and classes `[R]`: the cross-entropy of each row in nats `[R]`, and its gradient `softmax - onehot`
 * `[R, V]`. The logits may be overwritten.
 */
export type SoftmaxLoss = (logits: Tensor2D, classes: Int32Array) => { readonly gradient: Tensor2D; readonly loss: Tensor1D };

const softmaxLoss: SoftmaxLoss = (logits, classes) => {
  const p = tf.softmax(logits);
  const indices = tf.tensor2d(Int32Array.from({ length: 2 * classes.length }, (_, i) => (i % 2 === 0 ? i / 2 : classes[i >> 1]!)), [classes.length, 2], 'int32');
  const target = tf.gatherND(logits, indices) as Tensor1D;
  // The largest probability is 1 / sum(exp(l - max)), so log-sum-exp needs no exponentials of its own.
  const logSumExp = tf.sub(tf.max<Tensor1D>(logits, 1), tf.log(tf.max<Tensor1D>(p, 1)));
  return { gradient: tf.sub(p, tf.cast(tf.oneHot(tf.tensor1d(classes, 'int32'), logits.shape[1]), 'float32')), loss: tf.sub(logSumExp, target) };
};

/** Products with one W `[V, d]`, made ready once and used for every chunk of rows. */
export interface VocabularyProducts {
  /** `h W^T`: `[R, d]` -> `[R, V]` */
  readonly logits: (h: Tensor2D) => Tensor2D;
  /** `g W`: `[R, V]` -> `[R, d]` */
  readonly direction: (g: Tensor2D) => Tensor2D;
}

/** @param both whether `direction` will be asked for */
export type ProductsWith = (weight: Weight, both: boolean) => VocabularyProducts;

const plainProducts: ProductsWith = (weight, both) => {
  const columns = columnsOf(weight);
  const blocks = both ? rowBlocks(rowsOf(weight)) : [];
  return { logits: (h) => tf.matMul(h, columns), direction: (g) => blockedProduct(g, blocks) };
};

/**
 * Cross-entropy of `hidden W^T` in row chunks: hidden `[T, d]`, W `[V, d]`, targets `[T]` (-100: none) -> loss of each row
 * `[T]` in nats, 0 without a target. Rows without a target are never multiplied.
 *
 * With `G = softmax - onehot`: `dhidden = dloss (G W)`, `dW = G^T (dloss hidden)`. On a frozen W the forward leaves `G W`,
 * `[rows, d]`, so the backward is one scaling; a trained W's logits are computed again, chunk by chunk. `[T, V]` is never held.
 */
export function crossEntropyWith(softmax: SoftmaxLoss = softmaxLoss, products: ProductsWith = plainProducts): FusedOps['crossEntropy'] {
  return (hidden, weight, targets) => {
    const [tokens, size] = hidden.shape;
    const [vocabulary] = weight.shape;
    const { rows, classes } = targeted(targets, vocabulary);
    if (rows.length === 0) return tf.zeros([tokens]);

    const everyRow = rows.length === tokens;
    const pick = <T extends Tensor>(x: T): T => (everyRow ? x : tf.gather(x, tf.tensor1d(rows, 'int32')));
    const place = (x: Tensor2D): Tensor2D => (everyRow ? x : addRows(x, rows, tokens));

    /** Runs each chunk of rows in a tidy of its own. */
    const chunked = (h: Tensor2D, logits: VocabularyProducts['logits'], use: (part: ReturnType<SoftmaxLoss>, hPart: Tensor2D, start: number, count: number) => Tensor[]): Tensor[][] =>
      chunks(rows.length, vocabulary).map(({ start, size: count }) =>
        tf.tidy(() => {
          const hPart = everyRow && count === tokens ? h : tf.slice(h, [start, 0], [count, size]);
          return use(softmax(logits(hPart), classes.subarray(start, start + count)), hPart, start, count);
        }),
      );

    return fused<'hidden' | 'weight', Tensor1D>({
      inputs: { hidden, weight: isFrozen(weight) ? undefined : weight },

      forward: (wants) => {
        const ahead = wants('hidden') && !wants('weight');
        const { logits, direction } = products(weight, ahead);
        const parts = chunked(pick(hidden), logits, ({ loss, gradient }) => (ahead ? [loss, direction(gradient)] : [loss]));
        const losses = joined(parts.map(([loss]) => loss as Tensor1D));
        const value = tf.reshape(place(tf.reshape(losses, [-1, 1])), [tokens]) as Tensor1D;
        if (ahead) return { value, saved: [joined(parts.map(([, part]) => part as Tensor2D))] };
        return { value, saved: wants('weight') ? [hidden, weight as Tensor2D] : [] };
      },

      backward: (dy, saved, wants) => {
        const dloss = tf.reshape(pick(dy), [-1, 1]) as Tensor2D;
        if (!wants('weight')) return { hidden: place(tf.mul(saved[0] as Tensor2D, dloss)) };
        const [h, wRows] = [pick(saved[0] as Tensor2D), saved[1] as Tensor2D];
        const { logits, direction } = products(wRows, wants('hidden'));
        let dW: Tensor2D | undefined;
        const directions = chunked(h, logits, ({ gradient }, hPart, start, count) => {
          const part = product(gradient, tf.mul(hPart, tf.slice(dloss, [start, 0], [count, 1])), true, false);
          const sum: Tensor2D = tf.keep(dW === undefined ? part.clone() : tf.add(dW, part));
          dW?.dispose();
          dW = sum;
          return wants('hidden') ? [direction(gradient)] : [];
        }).flat();
        // Kept over the chunks' tidies; its clone is the caller's.
        const total = dW!.clone();
        dW!.dispose();
        return { weight: total, hidden: wants('hidden') ? place(tf.mul(joined(directions as Tensor2D[]), dloss)) : undefined };
      },
    });
  };
}

function joined<T extends Tensor>(parts: readonly T[]): T {
  return parts.length === 1 ? parts[0]! : (tf.concat([...parts], 0) as T);
}

export const crossEntropy = crossEntropyWith(softmaxLoss);
