/** Products of (batches of) matrices. */
import { tf } from 'graft';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';

/** `op(a) op(b)` over broadcast batches: a `[..., m, k]`, b `[..., k, n]` -> `[..., m, n]`. */
export function batchMatMul(backend: NativeBackend, a: TensorInfo, b: TensorInfo, transposeA: boolean, transposeB: boolean): TensorInfo {
  const [aRank, bRank] = [a.shape.length, b.shape.length];
  const [aRows, aColumns] = [a.shape[aRank - 2]!, a.shape[aRank - 1]!];
  const [bRows, bColumns] = [b.shape[bRank - 2]!, b.shape[bRank - 1]!];
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const [inner, n] = transposeB ? [bColumns, bRows] : [bRows, bColumns];
  if (k !== inner) throw new Error(`matMul: the inner sizes ${k} and ${inner} of [${a.shape.join(', ')}] and [${b.shape.join(', ')}] differ`);
  const [aBatches, bBatches] = [a.shape.slice(0, -2), b.shape.slice(0, -2)];
  const batches = tf.broadcast_util.assertAndGetBroadcastShape(aBatches, bBatches);
  const count = tf.util.sizeFromShape(batches);
  const [aCount, bCount] = [tf.util.sizeFromShape(aBatches), tf.util.sizeFromShape(bBatches)];
  if ((aCount !== 1 && aCount !== count) || (bCount !== 1 && bCount !== count)) throw new Error(`matMul: batches [${aBatches.join(', ')}] and [${bBatches.join(', ')}] broadcast in more than one direction`);
  const y = backend.output([...batches, m, n]);
  const strides = (columns: number, transposed: boolean): [number, number] => (transposed ? [1, columns] : [columns, 1]);
  backend.native.run('matMul', [
    ...[backend.id(a), ...strides(aColumns, transposeA), backend.id(b), ...strides(bColumns, transposeB)],
    ...[m, k, n, count, aCount === 1 ? 0 : aRows * aColumns, bCount === 1 ? 0 : bRows * bColumns, backend.id(y)],
  ]);
  return y;
}

const matMul: KernelFunc = ({ inputs, attrs, backend }) => {
  const { a, b } = inputs as unknown as { a: TensorInfo; b: TensorInfo };
  const { transposeA, transposeB } = attrs as unknown as { transposeA: boolean; transposeB: boolean };
  return batchMatMul(backend as NativeBackend, a, b, transposeA, transposeB);
};

export const matMulKernels: Readonly<Record<string, KernelFunc>> = { BatchMatMul: matMul };
