/** Kernels that have no native form, computed by tfjs's cpu backend. */
import { tf } from 'graft';
import type { DataType, KernelBackend, KernelConfig, KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import { BACKEND } from './backend.ts';

/** The cpu backend, beyond its declared type. */
interface CpuBackend extends KernelBackend {
  /** It prints an advertisement on first use in Node. */
  firstUse: boolean;
  makeTensorInfo(shape: number[], dtype: DataType, values: unknown): TensorInfo;
  readSync(dataId: object): tf.BackendValues;
  disposeData(dataId: object, force?: boolean): boolean;
}

function bridged(kernel: KernelConfig, cpu: CpuBackend): KernelFunc {
  return ({ inputs, attrs, backend }) => {
    const home = backend as KernelBackend;
    const copies = Object.entries(inputs).map(([name, info]) => [name, info && cpu.makeTensorInfo(info.shape, info.dtype, home.readSync(info.dataId))] as const);
    const operands = Array.isArray(inputs) ? copies.map(([, copy]) => copy) : Object.fromEntries(copies);
    const made = kernel.kernelFunc({ inputs: operands as typeof inputs, attrs, backend: cpu });
    const results = Array.isArray(made) ? made : [made];
    const moved = results.map(({ shape, dtype, dataId }) => ({ shape, dtype, dataId: home.write(cpu.readSync(dataId), shape, dtype) }));
    for (const { dataId } of results) cpu.disposeData(dataId, true);
    for (const [, copy] of copies) if (copy) cpu.disposeData(copy.dataId, true);
    return Array.isArray(made) ? moved : moved[0]!;
  };
}

/**
 * Registers every kernel that the cpu backend has and this one lacks.
 * @returns their names
 */
export function bridgeMissingKernels(): readonly string[] {
  const cpu = tf.findBackend('cpu') as CpuBackend;
  cpu.firstUse = false;
  const present = new Set(tf.getKernelsForBackend(BACKEND).map((kernel) => kernel.kernelName));
  const missing = tf.getKernelsForBackend('cpu').filter(({ kernelName }) => !present.has(kernelName));
  for (const kernel of missing) tf.registerKernel({ kernelName: kernel.kernelName, backendName: BACKEND, kernelFunc: bridged(kernel, cpu) });
  return missing.map((kernel) => kernel.kernelName);
}
