import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { LowRankTerm, Weight } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { columnsOf, isFrozen, rowsOf } from '../frozen.ts';
import { fused } from '../fused.ts';
import { product } from '../matmul.ts';

type Operand = 'x' | 'weight' | 'bias' | `input${number}` | `a${number}` | `b${number}`;

/**
 * `y = x W^T + bias + sum_i scale_i (input_i A_i^T) B_i^T`
 *
 * x `[T, in]`, W `[out, in]`, bias `[out]`, input_i `[T, in_i]` (x when left out), A_i `[r, in_i]`, B_i `[out, r]`; y `[T, out]`.
 * Backward, with `u_i = scale_i dy B_i` `[T, r]` and `h_i = input_i A_i^T` `[T, r]`, which is what is saved of a term:
 * `dx = dy W + sum_i u_i A_i`, `dW = dy^T x`, `dbias = sum_t dy`, `dA_i = u_i^T input_i`, `dB_i = scale_i dy^T h_i`.
 */
export function linear(x: Tensor2D, weight: Weight, bias?: Tensor1D, terms: readonly LowRankTerm[] = []): Tensor2D {
  const ofSome = terms.filter(({ rows }) => rows !== undefined);
  if (ofSome.length === 0) return plainLinear(x, weight, bias, terms);
  checkRowTerms(x, ofSome);
  return tf.tidy(() => ofSome.reduce((y, term) => tf.add(y, ofRows(x, term, y.shape)), plainLinear(x, weight, bias, terms.filter(({ rows }) => rows === undefined))));
}

/** A term of some rows as what is added to all: 0 in the others. */
function ofRows(x: Tensor2D, { a, b, scale, rows = [] }: LowRankTerm, [tokens, outputs]: readonly [number, number]): Tensor2D {
  const parts = rows.map(({ start, count }) => {
    const part = tf.slice(x, [start, 0], [count, x.shape[1]]);
    return tf.pad(tf.mul<Tensor2D>(product(product(part, a, false, true), b, false, true), scale), [[start, tokens - start - count], [0, 0]]);
  });
  return parts.reduce<Tensor2D>((sum, part) => tf.add(sum, part), tf.zeros([tokens, outputs]));
}

/** @throws GraftError `TERM_ROWS` where a term of some rows has an input of its own, or names rows that x does not have */
export function checkRowTerms(x: Tensor2D, terms: readonly LowRankTerm[]): void {
  for (const { input, rows = [] } of terms) {
    if (input !== undefined) throw new GraftError('TERM_ROWS', 'A low-rank term of some rows can not have an input of its own.');
    for (const { start, count } of rows) {
      if (start < 0 || count < 1 || start + count > x.shape[0]) throw new GraftError('TERM_ROWS', `A low-rank term is for ${count} rows from row ${start} on, and the input has ${x.shape[0]}.`);
    }
  }
}

function plainLinear(x: Tensor2D, weight: Weight, bias: Tensor1D | undefined, terms: readonly LowRankTerm[]): Tensor2D {
  const inputs: Partial<Record<Operand, Tensor>> = { x, bias, weight: isFrozen(weight) ? undefined : weight };
  terms.forEach(({ input, a, b }, i) => {
    if (input !== undefined) inputs[`input${i}`] = input;
    inputs[`a${i}`] = a;
    inputs[`b${i}`] = b;
  });

  return fused<Operand, Tensor2D>({
    inputs,

    forward: () => {
      const saved: Tensor[] = [x];
      let y: Tensor2D = tf.matMul(x, columnsOf(weight));
      if (bias !== undefined) y = tf.add(y, bias);
      for (const { input, a, b, scale } of terms) {
        const h = product(input ?? x, a, false, true);
        y = tf.add(y, tf.mul(product(h, b, false, true), scale));
        saved.push(input ?? x, a, b, h);
      }
      return { value: y, saved };
    },

    backward: (dy, saved, wants) => {
      const [kept, ...perTerm] = saved as Tensor2D[];
      const gradients: Partial<Record<Operand, Tensor>> = {};
      if (wants('weight')) gradients.weight = product(dy, kept!, true, false);
      if (wants('bias')) gradients.bias = tf.sum(dy, 0);
      let dx: Tensor2D | undefined = wants('x') ? (tf.matMul(dy, rowsOf(weight)) as Tensor2D) : undefined;
      terms.forEach(({ input, scale }, i) => {
        const [termInput, a, b, h] = perTerm.slice(4 * i, 4 * i + 4) as [Tensor2D, Tensor2D, Tensor2D, Tensor2D];
        const passes = input === undefined ? wants('x') : wants(`input${i}`);
        if (wants(`b${i}`)) gradients[`b${i}`] = tf.mul(product(dy, h, true, false), scale);
        if (!passes && !wants(`a${i}`)) return;
        const u: Tensor2D = tf.mul(tf.matMul(dy, b), scale);
        if (wants(`a${i}`)) gradients[`a${i}`] = product(u, termInput, true, false);
        if (!passes) return;
        const dInput = tf.matMul(u, a) as Tensor2D;
        if (input === undefined) dx = tf.add<Tensor2D>(dx!, dInput);
        else gradients[`input${i}`] = dInput;
      });
      if (dx !== undefined) gradients.x = dx;
      return gradients;
    },
  });
}
