import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { Weight } from '../../contracts/index.ts';
import { columnsOf, isFrozen, rowsOf } from '../frozen.ts';
import { fused } from '../fused.ts';
import { product } from '../matmul.ts';
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

/** Softmax of each row and its cross-entropy in nats: logits `[R, V]`, classes `[R]` -> `[R, V]`, `[R]`. */
function softmaxLoss(logits: Tensor2D, classes: Int32Array): { p: Tensor2D; loss: Tensor1D } {
  const p = tf.softmax(logits);
  const indices = tf.tensor2d(Int32Array.from({ length: 2 * classes.length }, (_, i) => (i % 2 === 0 ? i / 2 : classes[i >> 1]!)), [classes.length, 2], 'int32');
  const target = tf.gatherND(logits, indices) as Tensor1D;
  // The largest probability is 1 / sum(exp(l - max)), so log-sum-exp needs no exponentials of its own.
  const logSumExp = tf.sub(tf.max<Tensor1D>(logits, 1), tf.log(tf.max<Tensor1D>(p, 1)));
  return { p, loss: tf.sub(logSumExp, target) };
}

/**
 * Cross-entropy of `hidden W^T` in row chunks: hidden `[T, d]`, W `[V, d]`, targets `[T]` (-100: none) -> loss of each row
 * `[T]` in nats, 0 without a target. Rows without a target are never multiplied.
 *
 * With p the softmax: `dhidden = dloss (p W - W[target])`, `dW = p^T (dloss hidden) - scatter(target, dloss hidden)`.
 * On a frozen W the forward leaves `p W - W[target]`, `[rows, d]`, so the backward is one scaling; a trained W's logits
 * are computed again, chunk by chunk. `[T, V]` is never held.
 */
export function crossEntropy(hidden: Tensor2D, weight: Weight, targets: Int32Array): Tensor1D {
  const [tokens, size] = hidden.shape;
  const [vocabulary] = weight.shape;
  const { rows, classes } = targeted(targets, vocabulary);
  if (rows.length === 0) return tf.zeros([tokens]);

  const everyRow = rows.length === tokens;
  const rowIndices = () => tf.tensor1d(rows, 'int32');
  const pick = <T extends Tensor>(x: T): T => (everyRow ? x : tf.gather(x, rowIndices()));
  const place = (x: Tensor2D): Tensor2D => (everyRow ? x : addRows(x, rows, tokens));
  const classesOf = (start: number, count: number) => classes.subarray(start, start + count);

  /** `p W - W[target]`, `[R, d]`. */
  const towardsTarget = (p: Tensor2D, wRows: Tensor2D, wanted: Int32Array): Tensor2D =>
    tf.sub(tf.matMul(p, wRows), tf.gather(wRows, tf.tensor1d(wanted, 'int32')));

  return fused<'hidden' | 'weight', Tensor1D>({
    inputs: { hidden, weight: isFrozen(weight) ? undefined : weight },

    forward: (wants) => {
      const wantsDirection = wants('hidden') && !wants('weight');
      const h = pick(hidden);
      const columns = columnsOf(weight);
      const wRows = wantsDirection ? rowsOf(weight) : undefined;
      const parts = chunks(rows.length, vocabulary).map(({ start, size: count }) =>
        tf.tidy(() => {
          const wanted = classesOf(start, count);
          const { p, loss } = softmaxLoss(tf.matMul(tf.slice(h, [start, 0], [count, size]), columns), wanted);
          return { loss, direction: wRows === undefined ? undefined : towardsTarget(p, wRows, wanted) };
        }),
      );
      const losses = tf.concat(parts.map((part) => part.loss));
      const value = tf.reshape(place(tf.reshape(losses, [-1, 1])), [tokens]) as Tensor1D;
      const saved = wantsDirection ? [tf.concat(parts.map((part) => part.direction!), 0)] : wants('weight') ? [hidden, weight as Tensor2D] : [];
      return { value, saved };
    },

    backward: (dy, saved, wants) => {
      const dloss = tf.reshape(pick(dy), [-1, 1]) as Tensor2D;
      if (!wants('weight')) return { hidden: place(tf.mul(saved[0] as Tensor2D, dloss)) };
      const h = pick(saved[0] as Tensor2D);
      const wRows = saved[1] as Tensor2D;
      const columns = columnsOf(wRows);
      const directions: Tensor2D[] = [];
      let dW: Tensor2D = tf.neg(addRows(tf.mul(h, dloss), classes, vocabulary));
      for (const { start, size: count } of chunks(rows.length, vocabulary)) {
        const before = dW;
        const part = tf.tidy(() => {
          const hPart = tf.slice(h, [start, 0], [count, size]);
          const p = tf.softmax(tf.matMul(hPart, columns)) as Tensor2D;
          const weighted = tf.mul(hPart, tf.slice(dloss, [start, 0], [count, 1])) as Tensor2D;
          return {
            dW: tf.add(before, product(p, weighted, true, false)) as Tensor2D,
            direction: wants('hidden') ? towardsTarget(p, wRows, classesOf(start, count)) : undefined,
          };
        });
        before.dispose();
        dW = part.dW;
        if (part.direction !== undefined) directions.push(part.direction);
      }
      return { weight: dW, hidden: wants('hidden') ? place(tf.mul(tf.concat(directions, 0), dloss)) : undefined };
    },
  });
}
