/** tfjs's wasm kernels that we replace: `Identity` copies, and `Transpose` and `GatherV2` of matrices go element by element. */
import { tf } from 'graft';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { WasmBackend, WasmMemory } from './memory.ts';

/** Another name for the same memory, as in tfjs's other backends: what a backward saves would else be held twice. */
const identity: KernelFunc = ({ inputs, backend }) => {
  const { dataId, shape, dtype } = inputs['x'] as TensorInfo;
  (backend as WasmBackend).incRef(dataId);
  return { dataId, shape, dtype };
};

export function overrideKernels(memory: WasmMemory): void {
  replace('Identity', () => identity);
  replace('Transpose', (original) => (call) => {
    const x = call.inputs['x'] as TensorInfo;
    const { perm } = call.attrs as unknown as { perm: readonly number[] };
    if (x.dtype !== 'float32' || x.shape.length !== 2 || perm[0] !== 1) return original(call);
    const [rows, columns] = x.shape as [number, number];
    const y = memory.backend.makeOutput([columns, rows], 'float32');
    memory.kernels.transpose(memory.address(x), memory.address(y), rows, columns);
    return y;
  });
  replace('GatherV2', (original) => (call) => {
    const { x, indices } = call.inputs as unknown as { x: TensorInfo; indices: TensorInfo };
    const { axis, batchDims } = call.attrs as unknown as { axis: number; batchDims: number };
    const wholeRows = x.shape.length === 2 && indices.shape.length === 1 && indices.dtype === 'int32' && axis === 0 && batchDims === 0 && x.dtype !== 'bool';
    return wholeRows ? gatherRows(memory, x, indices) : original(call);
  });
}

/** Rows of a matrix, each copied whole: x `[n, d]`, indices `[R]` -> `[R, d]`. */
function gatherRows(memory: WasmMemory, x: TensorInfo, indices: TensorInfo): TensorInfo {
  const [count, size] = x.shape as [number, number];
  const places = memory.backend.readSync(indices.dataId) as Int32Array;
  const y = memory.backend.makeOutput([places.length, size], x.dtype);
  const heap = memory.bytes();
  const [from, to, bytes] = [memory.address(x), memory.address(y), size * 4];
  places.forEach((place, row) => {
    if (place < 0 || place >= count) throw new Error(`GatherV2: the index value ${place} is not in [0, ${count - 1}]`);
    heap.copyWithin(to + row * bytes, from + place * bytes, from + (place + 1) * bytes);
  });
  return y;
}

function replace(kernelName: string, make: (original: KernelFunc) => KernelFunc): void {
  const original = tf.getKernel(kernelName, 'wasm');
  tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({ ...original, kernelFunc: make(original.kernelFunc) });
}
