/** Elements to other places: transposes, slices, repetition, reversal. */
import { tf } from 'graft';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { axisOf, bytesOf, product, stepsOf, type NativeKernel } from './kernel.ts';

/** Of native/ops/axes.h. */
const MOST_AXES = 8;

interface Path {
  /** Where in x the first element is. */
  readonly begin?: number;
  /** Of the result's axes, which may be cut finer than its shape: their sizes, and steps along them in x. */
  readonly sizes: readonly number[];
  readonly steps: readonly number[];
}

/** @returns undefined for more axes than the operation walks over */
function move(backend: NativeBackend, x: TensorInfo, shape: readonly number[], { begin = 0, sizes, steps }: Path): TensorInfo | undefined {
  if (sizes.length > MOST_AXES) return undefined;
  const y = backend.output(shape, x.dtype);
  backend.native.run('move', [backend.id(x), bytesOf(x.dtype), begin, sizes.length, ...sizes, steps.length, ...steps, backend.id(y)]);
  return y;
}

export function transpose(backend: NativeBackend, x: TensorInfo, order: readonly number[]): TensorInfo {
  const sizes = order.map((axis) => x.shape[axis]!);
  // Axes of one element may go anywhere.
  const moved = order.filter((axis) => x.shape[axis] !== 1);
  if (moved.every((axis, i) => i === 0 || moved[i - 1]! < axis)) return backend.alias(x, sizes);
  const steps = stepsOf(x.shape);
  return move(backend, x, sizes, { sizes, steps: order.map((axis) => steps[axis]!) })!;
}

export function slice(backend: NativeBackend, x: TensorInfo, begin: readonly number[], size: readonly number[], shape: readonly number[] = size): TensorInfo {
  if (tf.util.arraysEqual([...size], x.shape)) return backend.alias(x, shape);
  const steps = stepsOf(x.shape);
  return move(backend, x, shape, { begin: begin.reduce((at, index, axis) => at + index * steps[axis]!, 0), sizes: size, steps })!;
}

export function broadcastTo(backend: NativeBackend, x: TensorInfo, shape: readonly number[]): TensorInfo {
  if (tf.util.arraysEqual([...shape], x.shape)) return backend.alias(x, shape);
  const missing = shape.length - x.shape.length;
  const steps = stepsOf(x.shape);
  return move(backend, x, shape, { sizes: shape, steps: shape.map((_, axis) => (axis < missing || x.shape[axis - missing] === 1 ? 0 : steps[axis - missing]!)) })!;
}

const transposeKernel: NativeKernel = ({ inputs: { x }, attrs, backend }) => transpose(backend, x!, attrs['perm'] as number[]);

const sliceKernel: NativeKernel = ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const [begin, size] = tf.slice_util.parseSliceParams(x as tf.Tensor, attrs['begin'] as number[], attrs['size'] as number[]);
  tf.slice_util.assertParamsValid(x, begin!, size!);
  return slice(backend, x, begin!, size!);
};

const stridedSlice: NativeKernel = ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const given = attrs as unknown as tf.StridedSliceAttrs;
  const info = tf.slice_util.sliceInfo(x.shape, given.begin, given.end, given.strides, given.beginMask, given.endMask, given.ellipsisMask, given.newAxisMask, given.shrinkAxisMask);
  if (info.isIdentity) return backend.alias(x, info.finalShape);
  const steps = stepsOf(x.shape);
  const begin = info.begin.reduce((at, index, axis) => at + index * steps[axis]!, 0);
  return move(backend, x, info.finalShape, { begin, sizes: info.finalShapeSparse, steps: steps.map((step, axis) => step * info.strides[axis]!) });
};

const tile: NativeKernel = ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const reps = attrs['reps'] as number[];
  const steps = stepsOf(x.shape);
  const parts = x.shape.flatMap((size, axis) => [[reps[axis]!, 0], [size, steps[axis]!]] as const).filter(([size]) => size !== 1);
  return move(backend, x, x.shape.map((size, axis) => size * reps[axis]!), { sizes: parts.map(([size]) => size), steps: parts.map(([, step]) => step) });
};

const reverse: NativeKernel = ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const reversed = new Set(tf.util.parseAxisParam(attrs['dims'] as number[], x.shape));
  const steps = stepsOf(x.shape);
  const begin = steps.reduce((at, step, axis) => at + (reversed.has(axis) ? (x.shape[axis]! - 1) * step : 0), 0);
  return move(backend, x, x.shape, { begin, sizes: x.shape, steps: steps.map((step, axis) => (reversed.has(axis) ? -step : step)) });
};

const splitV: NativeKernel = ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const axis = axisOf(attrs['axis'] as number, x.shape);
  const begin = x.shape.map(() => 0);
  return tf.backend_util.prepareSplitSize(x as tf.Tensor, attrs['numOrSizeSplits'] as number[] | number, axis).map((size) => {
    const part = slice(backend, x, begin, x.shape.with(axis, size));
    begin[axis]! += size;
    return part;
  });
};

const unpack: NativeKernel = ({ inputs, attrs, backend }) => {
  const value = inputs['value']!;
  const axis = axisOf(attrs['axis'] as number, value.shape);
  const [size, shape] = [value.shape.with(axis, 1), value.shape.toSpliced(axis, 1)];
  return Array.from({ length: value.shape[axis]! }, (_, i) => slice(backend, value, value.shape.map((_, other) => (other === axis ? i : 0)), size, shape));
};

/** The operands `[outer, n]` side by side. */
function concat(backend: NativeBackend, parts: readonly TensorInfo[], outer: number, shape: readonly number[]): TensorInfo | undefined {
  const { dtype } = parts[0]!;
  if (parts.some((part) => part.dtype !== dtype)) return undefined;
  const y = backend.output(shape, dtype);
  backend.native.run('Concat', [bytesOf(dtype), outer, parts.length, ...parts.flatMap((part) => [backend.id(part), outer === 0 ? 0 : product(part.shape) / outer]), backend.id(y)]);
  return y;
}

const concatKernel: NativeKernel = ({ inputs, attrs, backend }) => {
  const parts = Object.values(inputs);
  const axis = axisOf(attrs['axis'] as number, parts[0]!.shape);
  const shapes = parts.map((part) => part.shape);
  tf.backend_util.assertParamsConsistent(shapes, axis);
  const shape = tf.backend_util.computeOutShape(shapes, axis);
  const filled = parts.filter((part) => product(part.shape) > 0);
  if (filled.length === 1) return backend.alias(filled[0]!, shape);
  return concat(backend, filled.length === 0 ? parts : filled, product(shape, 0, axis), shape);
};

const pack: NativeKernel = ({ inputs, attrs, backend }) => {
  const parts = Object.values(inputs);
  const { shape } = parts[0]!;
  for (const part of parts) tf.util.assertShapesMatch(shape, part.shape, 'All tensors passed to stack must have matching shapes');
  const axis = attrs['axis'] as number;
  const place = axis < 0 ? axis + shape.length + 1 : axis;
  const packed = shape.toSpliced(place, 0, parts.length);
  return parts.length === 1 ? backend.alias(parts[0]!, packed) : concat(backend, parts, product(shape, 0, place), packed);
};

export const moveKernels: Readonly<Record<string, NativeKernel>> = {
  Transpose: transposeKernel,
  Slice: sliceKernel,
  StridedSlice: stridedSlice,
  Tile: tile,
  BroadcastTo: ({ inputs: { x }, attrs, backend }) => broadcastTo(backend, x!, attrs['shape'] as number[]),
  Reverse: reverse,
  SplitV: splitV,
  Unpack: unpack,
  Concat: concatKernel,
  Pack: pack,
};
