/** Elements by their numbers. The numbers are checked where they are read, so a wrong one is told when the result, or a later one, is. */
import { tf } from 'graft';
import type { Tensor } from '@tensorflow/tfjs-core';
import { axisOf, bytesOf, operationOf, product, wordOf, type NativeKernel } from './kernel.ts';

const gatherV2: NativeKernel = ({ inputs, attrs, backend }) => {
  const [x, indices] = [inputs['x']!, inputs['indices']!];
  if (indices.dtype !== 'int32') return undefined;
  const axis = axisOf(attrs['axis'] as number, x.shape);
  const { batchSize, outerSize, dimSize, sliceSize, outputShape } = tf.backend_util.segment_util.collectGatherOpShapeInfo(x as Tensor, indices as Tensor, axis, (attrs['batchDims'] as number | undefined) ?? 0);
  const y = backend.output(outputShape, x.dtype);
  backend.native.run('GatherV2', [backend.id(x), bytesOf(x.dtype), batchSize, outerSize, dimSize, sliceSize, backend.id(indices), batchSize === 0 ? 0 : product(indices.shape) / batchSize, backend.id(y)]);
  return y;
};

const gatherNd: NativeKernel = ({ inputs, backend }) => {
  const [params, indices] = [inputs['params']!, inputs['indices']!];
  if (indices.dtype !== 'int32') return undefined;
  const [shape, count] = tf.backend_util.prepareAndValidate(params, indices);
  const y = backend.output(shape, params.dtype);
  backend.native.run('GatherNd', [backend.id(params), bytesOf(params.dtype), backend.id(indices), count, params.shape.length, ...params.shape, indices.shape.at(-1)!, backend.id(y)]);
  return y;
};

const scatterNd: NativeKernel = ({ inputs, attrs, backend }) => {
  const [indices, updates] = [inputs['indices']!, inputs['updates']!];
  const shape = attrs['shape'] as number[];
  const operation = operationOf(backend, 'ScatterNd', updates.dtype);
  if (operation === undefined || indices.dtype !== 'int32' || product(shape) === 0) return undefined;
  const { sliceRank, numUpdates } = tf.backend_util.calculateShapes(updates, indices, shape);
  const y = backend.output(shape, updates.dtype);
  backend.native.run(operation, [backend.id(updates), backend.id(indices), numUpdates, shape.length, ...shape, sliceRank, backend.id(y)]);
  return y;
};

const tensorScatterUpdate: NativeKernel = ({ inputs, backend }) => {
  const [x, indices, updates] = [inputs['tensor']!, inputs['indices']!, inputs['updates']!];
  if (indices.dtype !== 'int32' || updates.dtype !== x.dtype || updates.shape.length === 0 || product(x.shape) === 0) return undefined;
  const { sliceRank, numUpdates } = tf.backend_util.calculateShapes(updates, indices, x.shape);
  const y = backend.output(x.shape, x.dtype);
  backend.native.run('TensorScatterUpdate', [backend.id(x), bytesOf(x.dtype), backend.id(updates), backend.id(indices), numUpdates, x.shape.length, ...x.shape, sliceRank, backend.id(y)]);
  return y;
};

const segmentSum: NativeKernel = ({ inputs, attrs, backend }) => {
  const [x, segments] = [inputs['x']!, inputs['segmentIds']!];
  if (x.dtype !== 'float32' || segments.dtype !== 'int32' || segments.shape.length !== 1) return undefined;
  const count = attrs['numSegments'] as number;
  const y = backend.output([count, ...x.shape.slice(1)]);
  backend.native.run('UnsortedSegmentSum', [backend.id(x), backend.id(segments), x.shape[0]!, product(x.shape, 1), count, backend.id(y)]);
  return y;
};

const oneHot: NativeKernel = ({ inputs, attrs, backend }) => {
  const indices = inputs['indices']!;
  const { depth, onValue, offValue, dtype = 'int32' } = attrs as unknown as tf.OneHotAttrs;
  if (indices.dtype !== 'int32' || (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool')) return undefined;
  const y = backend.output([...indices.shape, depth], dtype);
  backend.native.run('OneHot', [backend.id(indices), product(indices.shape), depth, wordOf(onValue, dtype), wordOf(offValue, dtype), bytesOf(dtype), backend.id(y)]);
  return y;
};

const topK: NativeKernel = ({ inputs, attrs, backend }) => {
  const x = inputs['x']!;
  const k = attrs['k'] as number;
  const operation = operationOf(backend, 'TopK', x.dtype);
  const n = x.shape.at(-1)!;
  if (operation === undefined || k > n) return undefined;
  const shape = x.shape.with(-1, k);
  const [values, indices] = [backend.output(shape, x.dtype), backend.output(shape, 'int32')];
  backend.native.run(operation, [backend.id(x), product(x.shape, 0, x.shape.length - 1), n, k, backend.id(values), backend.id(indices)]);
  return [values, indices];
};

const select: NativeKernel = ({ inputs, backend }) => {
  const [condition, t, e] = [inputs['condition']!, inputs['t']!, inputs['e']!];
  const byRow = condition.shape.length === 1 && condition.shape[0] === t.shape[0];
  if (condition.dtype !== 'bool' || t.dtype !== e.dtype || !(byRow || tf.util.arraysEqual(condition.shape, t.shape))) return undefined;
  const y = backend.output(t.shape, t.dtype);
  const count = product(condition.shape);
  backend.native.run('Select', [backend.id(condition), backend.id(t), backend.id(e), bytesOf(t.dtype), count, byRow ? product(t.shape, 1) : 1, backend.id(y)]);
  return y;
};

export const gatherKernels: Readonly<Record<string, NativeKernel>> = {
  GatherV2: gatherV2,
  GatherNd: gatherNd,
  ScatterNd: scatterNd,
  TensorScatterUpdate: tensorScatterUpdate,
  UnsortedSegmentSum: segmentSum,
  OneHot: oneHot,
  TopK: topK,
  Select: select,
};
