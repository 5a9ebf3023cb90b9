import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { FusedOps } from '../../contracts/index.ts';
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

/**
 * Cross-entropy of `hidden W^T` in row chunks: hidden `[T, d]`, W `[V, d]`, targets `[T]` (-100: none) -> loss of each row
 * `[T]` in nats, 0 without a target. Rows without a target are never multiplied.
 *
 * With `G = softmax - onehot`: `dhidden = dloss (G W)`, `dW = G^T (dloss hidden)`. On a frozen W the forward leaves `G W`,
 * `[rows, d]`, so the backward is one scaling; a trained W's logits are computed again, chunk by chunk. `[T, V]` is never held.
 */
export function crossEntropyWith(softmax: SoftmaxLoss): FusedOps['crossEntropy'] {
  return (hidden, weight, targets) => {
    const [tokens, size] = hidden.shape;
    const [vocabulary] = weight.shape;
    const { rows, classes } = targeted(targets, vocabulary);
    if (rows.length === 0) return tf.zeros([tokens]);

    const everyRow = rows.length === tokens;
    const pick = <T extends Tensor>(x: T): T => (everyRow ? x : tf.gather(x, tf.tensor1d(rows, 'int32')));
    const place = (x: Tensor2D): Tensor2D => (everyRow ? x : addRows(x, rows, tokens));

    /** Runs each chunk of rows in a tidy of its own. */
    const chunked = (h: Tensor2D, columns: Tensor2D, use: (part: ReturnType<SoftmaxLoss>, hPart: Tensor2D, start: number, count: number) => Tensor[]): Tensor[][] =>
      chunks(rows.length, vocabulary).map(({ start, size: count }) =>
        tf.tidy(() => {
          const hPart = everyRow && count === tokens ? h : tf.slice(h, [start, 0], [count, size]);
          return use(softmax(tf.matMul(hPart, columns), classes.subarray(start, start + count)), hPart, start, count);
        }),
      );

    return fused<'hidden' | 'weight', Tensor1D>({
      inputs: { hidden, weight: isFrozen(weight) ? undefined : weight },

      forward: (wants) => {
        const columns = columnsOf(weight);
        const wRows = wants('hidden') && !wants('weight') ? rowBlocks(rowsOf(weight)) : undefined;
        const parts = chunked(pick(hidden), columns, ({ loss, gradient }) => (wRows === undefined ? [loss] : [loss, blockedProduct(gradient, wRows)]));
        const losses = joined(parts.map(([loss]) => loss as Tensor1D));
        const value = tf.reshape(place(tf.reshape(losses, [-1, 1])), [tokens]) as Tensor1D;
        if (wRows !== undefined) return { value, saved: [joined(parts.map(([, direction]) => direction as Tensor2D))] };
        return { value, saved: wants('weight') ? [hidden, weight as Tensor2D] : [] };
      },

      backward: (dy, saved, wants) => {
        const dloss = tf.reshape(pick(dy), [-1, 1]) as Tensor2D;
        if (!wants('weight')) return { hidden: place(tf.mul(saved[0] as Tensor2D, dloss)) };
        const [h, wRows] = [pick(saved[0] as Tensor2D), saved[1] as Tensor2D];
        const wBlocks = wants('hidden') ? rowBlocks(wRows) : undefined;
        let dW: Tensor2D | undefined;
        const directions = chunked(h, columnsOf(wRows), ({ gradient }, hPart, start, count) => {
          const part = product(gradient, tf.mul(hPart, tf.slice(dloss, [start, 0], [count, 1])), true, false);
          const sum: Tensor2D = tf.keep(dW === undefined ? part.clone() : tf.add(dW, part));
          dW?.dispose();
          dW = sum;
          return wBlocks === undefined ? [] : [blockedProduct(gradient, wBlocks)];
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
