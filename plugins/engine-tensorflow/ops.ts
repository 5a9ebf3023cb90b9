/** The fused operations: the portable ones, and those that multiply by a weight in bfloat16. */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { crossEntropyWith, fused, portableOps, product, tf, type FusedOps, type LowRankTerm } from 'graft';
import { Bfloat16Weight } from './bfloat16.ts';

const { linear: portableLinear, crossEntropy: portableCrossEntropy, embedding: portableEmbedding } = portableOps;

/** `x W^T`, with `dx = dy W`; nothing is saved. */
function frozenProduct(x: Tensor2D, weight: Bfloat16Weight): Tensor2D {
  return fused<'x', Tensor2D>({
    inputs: { x },
    forward: () => ({ value: weight.timesColumns(x), saved: [] }),
    backward: (dy) => ({ x: weight.timesRows(dy) }),
  });
}

/** `y + z` of one shape, without saving either. */
function sum(y: Tensor2D, z: Tensor2D): Tensor2D {
  return fused<'y' | 'z', Tensor2D>({
    inputs: { y, z },
    forward: () => ({ value: tf.add(y, z), saved: [] }),
    backward: (dy) => ({ y: dy, z: dy }),
  });
}

/** `y + bias`: bias `[out]`, with `dbias = sum_t dy`. */
function withBias(y: Tensor2D, bias: Tensor): Tensor2D {
  return fused<'y' | 'bias', Tensor2D>({
    inputs: { y, bias },
    forward: () => ({ value: tf.add(y, bias), saved: [] }),
    backward: (dy, _saved, wants) => ({ y: dy, bias: wants('bias') ? tf.sum(dy, 0) : undefined }),
  });
}

/**
 * `scale (input A^T) B^T` in float32: input `[T, in]`, A `[r, in]`, B `[out, r]`. Backward, with `u = scale dy B` and
 * `h = input A^T`, both `[T, r]`: `dinput = u A`, `dA = u^T input`, `dB = scale dy^T h`.
 */
function lowRank(x: Tensor2D, { input = x, a, b, scale }: LowRankTerm): Tensor2D {
  return fused<'input' | 'a' | 'b', Tensor2D>({
    inputs: { input, a, b },

    forward: () => {
      const h = product(input, a, false, true);
      return { value: tf.mul(product(h, b, false, true), scale), saved: [input, a, b, h] };
    },

    backward: (dy, saved, wants) => {
      const [kept, narrow, wide, h] = saved as [Tensor2D, Tensor2D, Tensor2D, Tensor2D];
      const u: Tensor2D = tf.mul(product(dy, wide), scale);
      return {
        input: wants('input') ? product(u, narrow) : undefined,
        a: wants('a') ? product(u, kept, true, false) : undefined,
        b: wants('b') ? tf.mul(product(dy, h, true, false), scale) : undefined,
      };
    },
  });
}

const linear: FusedOps['linear'] = (x, weight, bias, terms = []) => {
  if (!(weight instanceof Bfloat16Weight)) return portableLinear(x, weight, bias, terms);
  return tf.tidy(() => {
    const y = frozenProduct(x, weight);
    return terms.reduce((total, term) => sum(total, lowRank(x, term)), bias === undefined ? y : withBias(y, bias));
  });
};

const embedding: FusedOps['embedding'] = (weight, ids) => (weight instanceof Bfloat16Weight ? weight.lookup(ids) : portableEmbedding(weight, ids));

const crossEntropy: FusedOps['crossEntropy'] = (hidden, weight, targets) => {
  if (!(weight instanceof Bfloat16Weight)) return portableCrossEntropy(hidden, weight, targets);
  const products = () => ({ logits: (h: Tensor2D) => weight.timesColumns(h), direction: (g: Tensor2D) => weight.timesRows(g) });
  return crossEntropyWith(undefined, products)(hidden, weight, targets);
};

export const tensorflowOps: FusedOps = Object.freeze({ ...portableOps, linear, embedding, crossEntropy });
