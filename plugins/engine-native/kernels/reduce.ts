/** Reductions over any axes, running sums, and softmax. */
import { tf } from 'graft';
import type { DataType, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { axisOf, operationOf, product, type NativeKernel } from './kernel.ts';
import { castTo } from './unary.ts';

/** Neighbouring axes, which one pass reduces: `[first, end)`. */
type Group = readonly [first: number, end: number];

function groupsOf(axes: readonly number[]): Group[] {
  const groups: [number, number][] = [];
  for (const axis of [...axes].sort((a, b) => a - b)) {
    const last = groups.at(-1);
    if (last !== undefined && last[1] === axis) last[1]++;
    else groups.push([axis, axis + 1]);
  }
  return groups;
}

/** One pass a group, the last first, so that the axes before keep their places. */
function reduce(backend: NativeBackend, operation: string, x: TensorInfo, axes: readonly number[], dtype: DataType): TensorInfo {
  const groups = groupsOf(axes);
  if (groups.length === 0) groups.push([x.shape.length, x.shape.length]);
  let reduced = x;
  for (const [first, end] of groups.reverse()) {
    const { shape } = reduced;
    const y = backend.output([...shape.slice(0, first), ...shape.slice(end)], dtype);
    backend.native.run(operation, [backend.id(reduced), product(shape, 0, first), product(shape, first, end), product(shape, end), backend.id(y)]);
    if (reduced !== x) backend.disposeData(reduced.dataId);
    reduced = y;
  }
  return reduced;
}

interface Reduction {
  readonly name: string;
  /** The attribute that names the axes. */
  readonly axes?: string;
  /** A type that others are cast to first. */
  readonly from?: (dtype: DataType) => DataType;
}

const reduction = ({ name, axes: key = 'axis', from }: Reduction): NativeKernel => ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const dtype = from === undefined ? x.dtype : from(x.dtype);
  const operation = operationOf(backend, name, dtype);
  // Of nothing, every operation has rules of its own.
  if (operation === undefined || product(x.shape) === 0) return undefined;
  const axes = tf.util.parseAxisParam(attrs[key] as number | number[], x.shape);
  const operand = x.dtype === dtype ? x : castTo(backend, x, dtype);
  const y = reduce(backend, operation, operand, axes, dtype);
  if (operand !== x) backend.disposeData(operand.dataId);
  return attrs['keepDims'] === true ? { ...y, shape: tf.backend_util.expandShapeToKeepDim(y.shape, axes) } : y;
};

const placeOf = (name: string): NativeKernel => ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const operation = operationOf(backend, name, x.dtype);
  if (operation === undefined || product(x.shape) === 0 || x.shape.length === 0) return undefined;
  return reduce(backend, operation, x, [axisOf(attrs['axis'] as number, x.shape)], 'int32');
};

const cumulative = (name: string): NativeKernel => ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const operation = operationOf(backend, name, x.dtype);
  if (operation === undefined || x.shape.length === 0) return undefined;
  const axis = axisOf(attrs['axis'] as number, x.shape);
  const y = backend.output(x.shape, x.dtype);
  const flags = [attrs['exclusive'] === true ? 1 : 0, attrs['reverse'] === true ? 1 : 0];
  backend.native.run(operation, [backend.id(x), product(x.shape, 0, axis), x.shape[axis]!, product(x.shape, axis + 1), ...flags, backend.id(y)]);
  return y;
};

const softmax = (name: string, key: string): NativeKernel => ({ inputs, attrs, backend }) => {
  const logits = inputs['logits']!;
  const { dtype, shape } = logits;
  const rank = shape.length;
  if (dtype !== 'float32' || product(shape) === 0 || rank === 0) return undefined;
  const dim = attrs[key] as number;
  if (dim !== -1 && dim !== rank - 1) throw new Error(`${name} along a non-last dimension is not yet supported. Logits was rank ${rank} and dim was ${dim}`);
  const y = backend.output(shape);
  backend.native.run(name, [backend.id(logits), product(shape, 0, rank - 1), shape[rank - 1]!, backend.id(y)]);
  return y;
};

const boolsAsInts = (dtype: DataType): DataType => (dtype === 'bool' ? 'int32' : dtype);

export const reduceKernels: Readonly<Record<string, NativeKernel>> = {
  Sum: reduction({ name: 'Sum', from: boolsAsInts }),
  Mean: reduction({ name: 'Mean', from: () => 'float32' }),
  Prod: reduction({ name: 'Prod', from: boolsAsInts }),
  Max: reduction({ name: 'Max', axes: 'reductionIndices' }),
  Min: reduction({ name: 'Min' }),
  All: reduction({ name: 'All' }),
  Any: reduction({ name: 'Any' }),
  ArgMax: placeOf('ArgMax'),
  ArgMin: placeOf('ArgMin'),
  Cumsum: cumulative('Cumsum'),
  Cumprod: cumulative('Cumprod'),
  Softmax: softmax('Softmax', 'dim'),
  LogSoftmax: softmax('LogSoftmax', 'axis'),
};
