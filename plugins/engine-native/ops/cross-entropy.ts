import { fused, tf, type FusedOps } from 'graft';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { matrixOf } from './matrix.ts';

const NONE = -1;

/** How many rows have a target. */
function countTargets(targets: Int32Array, vocabulary: number): number {
  let count = 0;
  targets.forEach((target, row) => {
    if (target >= vocabulary) throw new RangeError(`Target ${target} of row ${row} is outside the vocabulary of ${vocabulary}.`);
    if (target >= 0) count++;
  });
  return count;
}

/**
 * `crossEntropy` of core/tensor/ops in one pass over the vocabulary: on a frozen W the forward leaves each row's gradient `[R, d]` for the
 * backward to scale; a trained W's logits are computed again.
 */
export function nativeCrossEntropy(backend: NativeBackend): FusedOps['crossEntropy'] {
  const { native } = backend;
  return (hidden, weight, targets) => {
    const [tokens, size] = hidden.shape;
    const [vocabulary] = weight.shape;
    const count = countTargets(targets, vocabulary);
    if (count === 0) return tf.zeros([tokens]);
    const matrix = matrixOf(backend, weight);
    const withTargets = (use: (id: number) => void): void => {
      const tensor = tf.tensor1d(targets, 'int32');
      use(backend.id(tensor));
      tensor.dispose();
    };

    return fused<'hidden' | 'weight', Tensor1D>({
      inputs: { hidden, weight: matrix.tensor },

      forward: (wants) => {
        const loss = backend.tensor<Tensor1D>([tokens]);
        const statistics = wants('weight') ? backend.tensor<Tensor2D>([3, count]) : undefined;
        const directions = statistics === undefined && wants('hidden') ? backend.tensor<Tensor2D>([count, size]) : undefined;
        const outputs = [loss, directions, statistics].map((tensor) => (tensor === undefined ? NONE : backend.id(tensor)));
        withTargets((ids) => native.run('crossEntropy', [backend.id(hidden), tokens, size, ...matrix.args, vocabulary, ids, ...outputs]));
        if (statistics !== undefined) return { value: loss, saved: [hidden, matrix.tensor!, statistics] };
        return { value: loss, saved: directions === undefined ? [] : [directions] };
      },

      backward: (dloss, saved, wants) => {
        const dhidden = wants('hidden') ? backend.tensor<Tensor2D>([tokens, size]) : undefined;
        const out = dhidden === undefined ? NONE : backend.id(dhidden);
        if (!wants('weight')) {
          withTargets((ids) => native.run('crossEntropyScaled', [backend.id(saved[0]!), backend.id(dloss), ids, tokens, size, out]));
          return { hidden: dhidden };
        }
        const [h, w, statistics] = saved as [Tensor2D, Tensor2D, Tensor2D];
        const dW = backend.tensor<Tensor2D>([vocabulary, size]);
        withTargets((ids) =>
          native.run('crossEntropyBackward', [backend.id(h), tokens, size, ...matrixOf(backend, w).args, vocabulary, ids, backend.id(statistics), backend.id(dloss), out, backend.id(dW)]),
        );
        return { hidden: dhidden, weight: dW };
      },
    });
  };
}
