/** Operations of two tensors, element by element, with broadcasting. */
import { tf } from 'graft';
import type { DataType, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { operationOf, type NativeKernel } from './kernel.ts';

/** @returns undefined where the types differ or the operation has no form of them */
export function binary(backend: NativeBackend, name: string, a: TensorInfo, b: TensorInfo, dtype: DataType = a.dtype): TensorInfo | undefined {
  const operation = a.dtype === b.dtype ? operationOf(backend, name, a.dtype) : undefined;
  if (operation === undefined) return undefined;
  const shape = tf.util.arraysEqual(a.shape, b.shape) ? a.shape : tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
  const y = backend.output(shape, dtype);
  backend.native.run(operation, [a.shape.length, ...a.shape, b.shape.length, ...b.shape, backend.id(a), backend.id(b), backend.id(y)]);
  return y;
}

/** Names of the operands, and the type of the result where it is not theirs. */
type Signature = readonly [a: string, b: string, dtype?: DataType];

const ARITHMETIC: Readonly<Record<string, Signature>> = Object.fromEntries(['Add', 'Sub', 'Multiply', 'RealDiv', 'Maximum', 'Minimum', 'SquaredDifference', 'Mod', 'Pow', 'Atan2'].map((name) => [name, ['a', 'b']]));
const TO_BOOL: Readonly<Record<string, Signature>> = Object.fromEntries(['Equal', 'NotEqual', 'Less', 'LessEqual', 'Greater', 'GreaterEqual', 'LogicalAnd', 'LogicalOr'].map((name) => [name, ['a', 'b', 'bool']]));
const SIGNATURES: Readonly<Record<string, Signature>> = { ...ARITHMETIC, ...TO_BOOL, FloorDiv: ['a', 'b', 'int32'], Prelu: ['x', 'alpha'], EluGrad: ['dy', 'y'] };

export const binaryKernels: Readonly<Record<string, NativeKernel>> = Object.fromEntries(
  Object.entries(SIGNATURES).map(([name, [a, b, dtype]]): [string, NativeKernel] => [name, ({ inputs, backend }) => binary(backend, name, inputs[a]!, inputs[b]!, dtype)]),
);
