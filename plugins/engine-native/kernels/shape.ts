/** Kernels that give the same memory another shape. */
import { tf } from 'graft';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';

const reshape: KernelFunc = ({ inputs, attrs, backend }) => {
  const x = inputs['x'] as TensorInfo;
  const { shape } = attrs as unknown as { shape: number[] };
  const size = tf.util.sizeFromShape(x.shape);
  const inferred = tf.util.inferFromImplicitShape(shape, size);
  if (tf.util.sizeFromShape(inferred) !== size) throw new Error(`reshape: the new shape [${inferred.join(', ')}] has another number of elements than [${x.shape.join(', ')}]`);
  return (backend as NativeBackend).alias(x, inferred);
};

const identity: KernelFunc = ({ inputs, backend }) => {
  const x = inputs['x'] as TensorInfo;
  return (backend as NativeBackend).alias(x, x.shape);
};

const expandDims: KernelFunc = ({ inputs, attrs, backend }) => {
  const input = inputs['input'] as TensorInfo;
  const { dim } = attrs as unknown as { dim: number };
  const shape = [...input.shape];
  shape.splice(dim < 0 ? input.shape.length + dim + 1 : dim, 0, 1);
  return (backend as NativeBackend).alias(input, shape);
};

export const shapeKernels: Readonly<Record<string, KernelFunc>> = { Reshape: reshape, Identity: identity, ExpandDims: expandDims };
