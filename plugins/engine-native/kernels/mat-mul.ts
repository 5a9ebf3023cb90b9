/** Products of (batches of) matrices. */
import { tf } from 'graft';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { binary } from './binary.ts';
import { product, type NativeKernel } from './kernel.ts';
import { broadcastTo } from './move.ts';
import { unary } from './unary.ts';

/** `op(a) op(b)` over broadcast batches: a `[..., m, k]`, b `[..., k, n]` -> `[..., m, n]`. */
export function batchMatMul(backend: NativeBackend, a: TensorInfo, b: TensorInfo, transposeA: boolean, transposeB: boolean): TensorInfo {
  const [aRows, aColumns] = [a.shape.at(-2)!, a.shape.at(-1)!];
  const [bRows, bColumns] = [b.shape.at(-2)!, b.shape.at(-1)!];
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const [inner, n] = transposeB ? [bColumns, bRows] : [bRows, bColumns];
  if (k !== inner) throw new Error(`matMul: the inner sizes ${k} and ${inner} of [${a.shape.join(', ')}] and [${b.shape.join(', ')}] differ`);
  const batches = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const count = product(batches);
  /** One matrix for all, or one each. */
  const spread = (x: TensorInfo): TensorInfo => {
    const own = product(x.shape, 0, x.shape.length - 2);
    return own === 1 || own === count ? backend.alias(x, x.shape) : broadcastTo(backend, x, [...batches, ...x.shape.slice(-2)]);
  };
  const [left, right] = [spread(a), spread(b)];
  const y = backend.output([...batches, m, n]);
  const strides = (columns: number, transposed: boolean): [number, number] => (transposed ? [1, columns] : [columns, 1]);
  const batchStride = (x: TensorInfo, rows: number, columns: number): number => (product(x.shape) === rows * columns ? 0 : rows * columns);
  backend.native.run('matMul', [
    ...[backend.id(left), ...strides(aColumns, transposeA), backend.id(right), ...strides(bColumns, transposeB)],
    ...[m, k, n, count, batchStride(left, aRows, aColumns), batchStride(right, bRows, bColumns), backend.id(y)],
  ]);
  backend.disposeData(left.dataId);
  backend.disposeData(right.dataId);
  return y;
}

const matMul: NativeKernel = ({ inputs, attrs, backend }) => {
  const [a, b] = [inputs['a']!, inputs['b']!];
  if (a.dtype !== 'float32' || b.dtype !== 'float32') return undefined;
  return batchMatMul(backend, a, b, attrs['transposeA'] === true, attrs['transposeB'] === true);
};

const ACTIVATIONS: Readonly<Record<string, string>> = { relu: 'Relu', relu6: 'Relu6', elu: 'Elu', sigmoid: 'Sigmoid', leakyrelu: 'LeakyRelu' };

const fusedMatMul: NativeKernel = (call) => {
  const { inputs, attrs, backend } = call;
  const { bias, preluActivationWeights } = inputs;
  const { activation, leakyreluAlpha } = attrs as { activation?: string | null; leakyreluAlpha?: number };
  const known = activation == null || activation === 'linear' || (activation === 'prelu' ? preluActivationWeights?.dtype === 'float32' : activation in ACTIVATIONS);
  if (!known || (bias != null && bias.dtype !== 'float32')) return undefined;
  let y = matMul(call) as TensorInfo | undefined;
  if (y === undefined) return undefined;
  const then = (next: TensorInfo): void => {
    backend.disposeData(y!.dataId);
    y = next;
  };
  if (bias != null) then(binary(backend, 'Add', y, bias)!);
  if (activation === 'prelu') then(binary(backend, 'Prelu', y, preluActivationWeights!)!);
  else if (activation != null && activation !== 'linear') then(unary(backend, ACTIVATIONS[activation]!, y, activation === 'leakyrelu' ? [leakyreluAlpha ?? 0] : [])!);
  return y;
};

export const matMulKernels: Readonly<Record<string, NativeKernel>> = { BatchMatMul: matMul, _FusedMatMul: fusedMatMul };
