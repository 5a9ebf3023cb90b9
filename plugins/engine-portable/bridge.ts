/** Kernels that the wasm backend lacks, computed by the cpu backend on copies of their operands. */
import { tf } from 'graft';
import type { DataType, KernelBackend, KernelConfig, KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';

/** The cpu backend, beyond its declared type. */
interface CpuBackend extends KernelBackend {
  /** It prints an advertisement on first use in Node. */
  firstUse: boolean;
  makeTensorInfo(shape: number[], dtype: DataType, values: unknown): TensorInfo;
  readSync(dataId: object): tf.BackendValues;
  disposeData(dataId: object, force?: boolean): boolean;
}

/** Complex numbers and strings have no place in wasm memory. */
const UNBRIDGED = new Set(['Complex', 'ComplexAbs', 'Real', 'Imag', 'FFT', 'IFFT', 'StaticRegexReplace', 'Draw', 'RaggedGather', 'RaggedRange', 'RaggedTensorToTensor']);

/** The cpu backend without its first-use message. */
export function quietCpu(): CpuBackend {
  const cpu = tf.findBackend('cpu') as CpuBackend;
  cpu.firstUse = false;
  return cpu;
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
 * Registers for `wasm` every kernel that only `cpu` has.
 * @returns their names
 */
export function bridgeMissingKernels(): readonly string[] {
  const cpu = quietCpu();
  const present = new Set(tf.getKernelsForBackend('wasm').map((kernel) => kernel.kernelName));
  const missing = tf.getKernelsForBackend('cpu').filter(({ kernelName }) => !present.has(kernelName) && !UNBRIDGED.has(kernelName));
  for (const kernel of missing) tf.registerKernel({ kernelName: kernel.kernelName, backendName: 'wasm', kernelFunc: bridged(kernel, cpu) });
  return missing.map((kernel) => kernel.kernelName);
}
