/** Tensors of one number, in whole or at their edges. */
import { tf } from 'graft';
import type { DataType, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { bytesOf, product, wordOf, type NativeKernel } from './kernel.ts';

function filled(backend: NativeBackend, shape: readonly number[], value: number, dtype: DataType): TensorInfo {
  const y = backend.output(shape, dtype);
  backend.native.run('Fill', [value, dtype === 'float32' ? 1 : 0, bytesOf(dtype), product(shape), backend.id(y)]);
  return y;
}

const fill: NativeKernel = ({ attrs, backend }) => {
  const { shape, value } = attrs as unknown as tf.FillAttrs;
  const dtype = (attrs['dtype'] as DataType | undefined) ?? tf.util.inferDtype(value);
  return dtype === 'string' || dtype === 'complex64' ? undefined : filled(backend, shape, Number(value), dtype);
};

const padV2: NativeKernel = ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const { paddings, constantValue } = attrs as unknown as tf.PadV2Attrs;
  const shape = x.shape.map((size, axis) => paddings[axis]![0] + size + paddings[axis]![1]);
  const y = backend.output(shape, x.dtype);
  const rank = shape.length;
  const axes = [rank, ...x.shape, rank, ...shape, rank, ...paddings.map(([before]) => before)];
  backend.native.run('PadV2', [bytesOf(x.dtype), wordOf(constantValue, x.dtype), backend.id(x), ...axes, backend.id(y)]);
  return y;
};

export const fillKernels: Readonly<Record<string, NativeKernel>> = {
  Fill: fill,
  ZerosLike: ({ inputs: { x }, backend }) => filled(backend, x!.shape, 0, x!.dtype),
  OnesLike: ({ inputs: { x }, backend }) => filled(backend, x!.shape, 1, x!.dtype),
  PadV2: padV2,
};
