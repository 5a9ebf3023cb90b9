import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import type { AttentionShape, Rotation } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { fused } from '../fused.ts';
import { batchedProduct } from '../matmul.ts';
import { rope } from './rope.ts';

/** Added to the score of a key that a query may not see. */
const HIDDEN = -1e30;

/** One segment: n queries from row `q0`, m keys from row `k0`. */
export interface AttentionSegment {
  readonly q0: number;
  readonly n: number;
  readonly k0: number;
  readonly m: number;
}

/**
 * The segments of T queries and Tk keys.
 * @throws GraftError `ATTENTION_SHAPE` where offsets and tensors disagree
 */
export function attentionSegments({ queryOffsets, keyOffsets }: AttentionShape, queries: number, keys: number): AttentionSegment[] {
  const count = queryOffsets.length - 1;
  if (keyOffsets.length - 1 !== count || queryOffsets[count] !== queries || keyOffsets[count] !== keys) {
    throw new GraftError('ATTENTION_SHAPE', `Attention was given ${queries} queries and ${keys} keys, and offsets that end at ${queryOffsets[count]} and ${keyOffsets[keyOffsets.length - 1]} in ${count} and ${keyOffsets.length - 1} segments.`);
  }
  return Array.from({ length: count }, (_, i) => {
    const [q0, k0] = [queryOffsets[i]!, keyOffsets[i]!];
    return { q0, n: queryOffsets[i + 1]! - q0, k0, m: keyOffsets[i + 1]! - k0 };
  });
}

/** 0 where query i may see key j, else `HIDDEN`: `[1, n, m]`. */
function maskOf({ n, m }: AttentionSegment, window = Infinity): Tensor3D {
  const values = new Float32Array(n * m);
  for (let i = 0; i < n; i++) {
    const own = m - n + i;
    for (let j = 0; j < m; j++) if (j > own || j <= own - window) values[i * m + j] = HIDDEN;
  }
  return tf.tensor3d(values, [1, n, m]);
}

/** Rows of a segment by head: `[T, H, D]` -> `[B, H/B n, D]`, the heads of one key head together. */
function byHead(x: Tensor3D, start: number, rows: number, batch: number): Tensor3D {
  const [, heads, size] = x.shape;
  const part = tf.slice(x, [start, 0, 0], [rows, heads, size]);
  return tf.reshape(tf.transpose(part, [1, 0, 2]), [batch, (heads / batch) * rows, size]);
}

/** The inverse of `byHead`: `[B, H/B n, D]` -> `[n, H, D]`. */
function byRow(x: Tensor3D, rows: number, heads: number): Tensor3D {
  return tf.transpose(tf.reshape(x, [heads, rows, x.shape[2]]), [1, 0, 2]);
}

/** Softmax of the masked scores: q `[B, G n, D]`, k `[B, m, D]` -> `[B, G n, m]`. */
function probabilities(q: Tensor3D, k: Tensor3D, segment: AttentionSegment, shape: AttentionShape): Tensor3D {
  const scores = tf.mul(batchedProduct(q, k, false, true), shape.scale);
  const perHead = tf.reshape(scores, [-1, segment.n, segment.m]);
  return tf.reshape(tf.softmax(tf.add(perHead, maskOf(segment, shape.window))), scores.shape as [number, number, number]);
}

/**
 * Causal attention over packed segments with grouped keys: q `[T, H, D]`, k and v `[Tk, Hkv, D]` -> `[T, H, D]`
 * (Vaswani et al. 2017; Ainslie et al. 2023). Query i of a segment of n queries and m keys sees keys up to `m - n + i`.
 *
 * Backward, per segment and head, with P the softmax computed again (Dao et al. 2022 do the same):
 * `dV = P^T dO`, `dP = dO V^T`, `dS = P (dP - rowsum(P dP))`, `dQ = scale dS K`, `dK = scale dS^T Q`.
 */
export function attention(q: Tensor3D, k: Tensor3D, v: Tensor3D, shape: AttentionShape): Tensor3D {
  return rotating(plainAttention, rope)(q, k, v, shape);
}

type Attention = (q: Tensor3D, k: Tensor3D, v: Tensor3D, shape: AttentionShape) => Tensor3D;

/** An attention that turns queries and keys where it is asked to, from one that does not. */
export function rotating(attend: Attention, turn: (x: Tensor3D, cos: Tensor2D, sin: Tensor2D) => Tensor3D): Attention {
  return (q, k, v, { rotation, ...shape }) => {
    if (rotation === undefined) return attend(q, k, v, shape);
    checkRotation(rotation, q, shape);
    const { cos, sin } = rotation;
    return tf.tidy(() => attend(turn(q, cos, sin), turn(k, cos, sin), v, shape));
  };
}

/** @throws GraftError `ATTENTION_ROTATION` where keys are of other tokens than queries, or the angles are not of these tokens */
export function checkRotation({ cos, sin }: Rotation, q: Tensor3D, { queryOffsets, keyOffsets }: AttentionShape): void {
  const [tokens, , size] = q.shape;
  const angles = [tokens, size / 2].join(', ');
  if (cos.shape.join(', ') !== angles || sin.shape.join(', ') !== angles) {
    throw new GraftError('ATTENTION_ROTATION', `Attention over ${tokens} tokens with heads of ${size} was given angles of shape [${cos.shape.join(', ')}] and [${sin.shape.join(', ')}], not [${angles}].`);
  }
  if (queryOffsets.length !== keyOffsets.length || queryOffsets.some((offset, i) => offset !== keyOffsets[i])) {
    throw new GraftError('ATTENTION_ROTATION', 'Attention can turn queries and keys only where they are of the same tokens; with a cache, turn them before.');
  }
}

function plainAttention(q: Tensor3D, k: Tensor3D, v: Tensor3D, shape: AttentionShape): Tensor3D {
  const [queries, heads] = q.shape;
  const [keys, groups] = k.shape;
  const segments = attentionSegments(shape, queries, keys);

  return fused<'q' | 'k' | 'v', Tensor3D>({
    inputs: { q, k, v },

    forward: () => ({
      saved: [q, k, v],
      value: concatRows(
        segments.map((segment) =>
          tf.tidy(() => {
            const [sq, sk, sv] = [byHead(q, segment.q0, segment.n, groups), byHead(k, segment.k0, segment.m, groups), byHead(v, segment.k0, segment.m, groups)];
            return byRow(batchedProduct(probabilities(sq, sk, segment, shape), sv), segment.n, heads);
          }),
        ),
      ),
    }),

    backward: (dy, saved) => {
      const [q, k, v] = saved as [Tensor3D, Tensor3D, Tensor3D];
      const parts = segments.map((segment) =>
        tf.tidy(() => {
          const [sq, sk, sv] = [byHead(q, segment.q0, segment.n, groups), byHead(k, segment.k0, segment.m, groups), byHead(v, segment.k0, segment.m, groups)];
          const sdy = byHead(dy, segment.q0, segment.n, groups);
          const p = probabilities(sq, sk, segment, shape);
          const dp = batchedProduct(sdy, sv, false, true);
          const ds = tf.mul(tf.mul(p, tf.sub(dp, tf.sum(tf.mul(p, dp), 2, true))), shape.scale) as Tensor3D;
          return {
            q: byRow(batchedProduct(ds, sk), segment.n, heads),
            k: byRow(batchedProduct(ds, sq, true, false), segment.m, groups),
            v: byRow(batchedProduct(p, sdy, true, false), segment.m, groups),
          };
        }),
      );
      return { q: concatRows(parts.map((part) => part.q)), k: concatRows(parts.map((part) => part.k)), v: concatRows(parts.map((part) => part.v)) };
    },
  });
}

function concatRows(parts: Tensor3D[]): Tensor3D {
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 0);
}

