/** tfjs's wasm kernels that we replace: `Identity` copies, and `Transpose` walks memory against the grain. */
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
}

function replace(kernelName: string, make: (original: KernelFunc) => KernelFunc): void {
  const original = tf.getKernel(kernelName, 'wasm');
  tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({ ...original, kernelFunc: make(original.kernelFunc) });
}
