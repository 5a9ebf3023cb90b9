import { attentionSegments, checkRotation, fused, GraftError, type AttentionShape } from 'graft';
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';

type Operand = 'q' | 'k' | 'v';

const NONE = -1;

/**
 * `attention` of core/tensor/ops without any `[T, T]`. For the backward it keeps the output, which the layer after it keeps anyway, and
 * one number for each query and head: the log of its sum of exponentials.
 *
 * With `rotation` it is `attention(rope(q), rope(k), v)`, and no turned copy of q or k is ever stored.
 *
 * @throws GraftError `ATTENTION_SHAPE` where offsets, heads and tensors disagree, `ATTENTION_ROTATION` where keys stand at other positions than
 * queries, or the angles are not of these tokens
 */
export function nativeAttention(backend: NativeBackend) {
  const { native } = backend;

  return (q: Tensor3D, k: Tensor3D, v: Tensor3D, shape: AttentionShape): Tensor3D => {
    const [queries, heads, size] = q.shape;
    const [keys, groups] = k.shape;
    const { queryOffsets, keyOffsets, scale, window = 0, rotation } = shape;
    attentionSegments(shape, queries, keys);
    checkHeads(q, k, v);
    if (rotation !== undefined) checkRotation(rotation, q, shape);

    const sizes = [heads, groups, size, scale, Number.isFinite(window) ? window : 0, queryOffsets.length, ...queryOffsets, keyOffsets.length, ...keyOffsets];
    const idOf = (tensor: Tensor | undefined): number => (tensor === undefined ? NONE : backend.id(tensor));
    const problem = (operands: readonly Tensor[], angles: readonly (Tensor | undefined)[]): number[] => [...operands.map(idOf), ...sizes, idOf(angles[0]), idOf(angles[1])];
    const angles = rotation === undefined ? [] : [rotation.cos, rotation.sin];

    return fused<Operand, Tensor3D>({
      inputs: { q, k, v },

      forward: (wants) => {
        const out = backend.tensor<Tensor3D>([queries, heads, size]);
        const isTrained = wants('q') || wants('k') || wants('v');
        const logSums = isTrained ? backend.tensor<Tensor2D>([queries, heads]) : undefined;
        native.run('attention', [...problem([q, k, v], angles), backend.id(out), idOf(logSums)]);
        return { value: out, saved: logSums === undefined ? [] : [q, k, v, out, logSums, ...angles] };
      },

      backward: (dy, saved, wants) => {
        const [q, k, v, out, logSums, ...angles] = saved as [Tensor3D, Tensor3D, Tensor3D, Tensor3D, Tensor2D, ...Tensor2D[]];
        const gradients: Partial<Record<Operand, Tensor3D>> = {};
        for (const [name, like] of [['q', q], ['k', k], ['v', v]] as const) {
          if (wants(name)) gradients[name] = backend.tensor<Tensor3D>(like.shape);
        }
        native.run('attentionBackward', [...problem([q, k, v], angles), ...[out, dy, logSums, gradients.q, gradients.k, gradients.v].map(idOf)]);
        return gradients;
      },
    });
  };
}

/** @throws GraftError `ATTENTION_SHAPE` */
export function checkHeads(q: Tensor3D, k: Tensor3D, v: Tensor3D): void {
  const [, heads, size] = q.shape;
  const [, groups, keySize] = k.shape;
  if (heads % groups === 0 && size === keySize && k.shape.join() === v.shape.join()) return;
  throw new GraftError('ATTENTION_SHAPE', `Attention was given queries [${q.shape.join(', ')}], keys [${k.shape.join(', ')}] and values [${v.shape.join(', ')}]: keys and values must have one shape, heads of the queries' size, and a number of heads that divides the queries'.`);
}
