/** What the kernels of this folder have in common. */
import { tf } from 'graft';
import type { DataType, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';

/** A kernel of numbers and booleans. Undefined: not in this form, so tfjs's cpu backend is to compute it. */
export type NativeKernel = (call: KernelCall) => TensorInfo | TensorInfo[] | undefined;

export interface KernelCall {
  readonly inputs: Readonly<Record<string, TensorInfo>>;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly backend: NativeBackend;
}

/** How native/ops names an operation of each type. */
const SUFFIX: Readonly<Record<string, string>> = { float32: '', int32: 'Ints', bool: 'Bools' };

/** The name of an operation of a type; undefined where the addon has none. */
export function operationOf(backend: NativeBackend, name: string, dtype: DataType): string | undefined {
  const operation = `${name}${SUFFIX[dtype]}`;
  return backend.native.has(operation) ? operation : undefined;
}

/** The operation that casts. */
export function castOf(from: DataType, to: DataType): string {
  return `Cast${SUFFIX[from]}To${SUFFIX[to]}`;
}

export function bytesOf(dtype: DataType): 1 | 4 {
  return dtype === 'bool' ? 1 : 4;
}

const real = new Float32Array(1);
const word = new Uint32Array(real.buffer);

/** The bits of a number as an element of a type. */
export function wordOf(value: number, dtype: DataType): number {
  if (dtype === 'bool') return value & 0xff;
  if (dtype === 'int32') return value >>> 0;
  real[0] = value;
  return word[0]!;
}

export function product(sizes: readonly number[], from = 0, to = sizes.length): number {
  let elements = 1;
  for (let axis = from; axis < to; axis++) elements *= sizes[axis]!;
  return elements;
}

/** Elements from one index of an axis to the next. */
export function stepsOf(shape: readonly number[]): number[] {
  const steps = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    steps[axis] = step;
    step *= shape[axis]!;
  }
  return steps;
}

/** An axis counted from the front. */
export function axisOf(axis: number, shape: readonly number[]): number {
  return tf.util.parseAxisParam(axis, [...shape])[0]!;
}
