import { fused, tf, type FusedOps } from 'graft';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { matrixOf } from './matrix.ts';

/** Rows of an embedding: weight `[V, d]`, ids `[T]` -> `[T, d]`. Backward: the rows of dy added up where they were taken from. */
export function nativeEmbedding(backend: NativeBackend): FusedOps['embedding'] {
  const { native } = backend;
  return (weight, ids) => {
    const [vocabulary, size] = weight.shape;
    const matrix = matrixOf(backend, weight);
    const withIds = (use: (id: number) => void): void => {
      const indices = tf.tensor1d(ids, 'int32');
      use(backend.id(indices));
      indices.dispose();
    };
    return fused<'weight', Tensor2D>({
      inputs: { weight: matrix.tensor },
      forward: () => {
        const y = backend.tensor<Tensor2D>([ids.length, size]);
        withIds((id) => native.run('embedding', [...matrix.args, vocabulary, size, id, ids.length, backend.id(y)]));
        return { value: y, saved: [] };
      },
      backward: (dy) => {
        const gradient = backend.tensor<Tensor2D>([vocabulary, size]);
        withIds((id) => native.run('embeddingBackward', [backend.id(dy), id, ids.length, vocabulary, size, backend.id(gradient)]));
        return { weight: gradient };
      },
    });
  };
}
