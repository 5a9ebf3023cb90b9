/** Kernels that have no native form, computed by tfjs's cpu backend. */
import { tf } from 'graft';
import type { BackendValues, DataType, KernelBackend, KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import { BACKEND, type NativeBackend } from './backend.ts';

/** The cpu backend, beyond its declared type. */
interface CpuBackend extends KernelBackend {
  /** It prints an advertisement on first use in Node. */
  firstUse: boolean;
  readonly data: { get(dataId: object): { readonly complexTensorInfos?: { readonly real: TensorInfo; readonly imag: TensorInfo } } };
  makeTensorInfo(shape: number[], dtype: DataType, values: unknown): TensorInfo;
  readSync(dataId: object): BackendValues;
  disposeData(dataId: object, force?: boolean): boolean;
}

function quietCpu(): CpuBackend {
  const cpu = tf.findBackend('cpu') as CpuBackend;
  cpu.firstUse = false;
  return cpu;
}

const cpuKernel = (name: string): KernelFunc | undefined => tf.getKernel(name, 'cpu')?.kernelFunc;

/** The tensors that one call of a kernel has on the cpu backend. */
class Visit {
  readonly #home: NativeBackend;
  readonly #cpu: CpuBackend;
  readonly #copies = new Map<object, TensorInfo>();

  constructor(home: NativeBackend, cpu: CpuBackend) {
    this.#home = home;
    this.#cpu = cpu;
  }

  /** What is read from native memory is the cpu backend's own, without a further copy; an operand given twice is read once. */
  bring({ dataId, shape, dtype }: TensorInfo): TensorInfo {
    const held = this.#copies.get(dataId);
    if (held !== undefined) return { dataId: held.dataId, shape, dtype };
    const copy = dtype === 'complex64' ? this.#bringComplex(dataId, shape) : this.#cpu.makeTensorInfo(shape, dtype, this.#home.readSync(dataId));
    this.#copies.set(dataId, copy);
    return copy;
  }

  #bringComplex(dataId: object, shape: number[]): TensorInfo {
    const { real, imag } = this.#home.parts({ dataId });
    const bring = (part: TensorInfo): TensorInfo => this.#cpu.makeTensorInfo(shape, 'float32', this.#home.readSync(part.dataId));
    const parts = { real: bring(real), imag: bring(imag) };
    const made = cpuKernel('Complex')!({ inputs: parts, attrs: {}, backend: this.#cpu }) as TensorInfo;
    for (const { dataId: own } of Object.values(parts)) this.#cpu.disposeData(own, true);
    return made;
  }

  takeHome({ dataId, shape, dtype }: TensorInfo): TensorInfo {
    const write = (id: object, as: DataType): TensorInfo => ({ dataId: this.#home.write(this.#cpu.readSync(id), shape, as), shape, dtype: as });
    if (dtype !== 'complex64') return write(dataId, dtype);
    const { real, imag } = this.#cpu.data.get(dataId).complexTensorInfos!;
    const parts = [write(real.dataId, 'float32'), write(imag.dataId, 'float32')] as const;
    const made = this.#home.complex(...parts);
    for (const part of parts) this.#home.disposeData(part.dataId);
    return made;
  }

  end(results: readonly TensorInfo[]): void {
    for (const { dataId } of [...results, ...this.#copies.values()]) this.#cpu.disposeData(dataId, true);
  }
}

/** A kernel that computes on the cpu backend and hands its results back. */
export function bridgedKernel(name: string): KernelFunc {
  return ({ inputs, attrs, backend }) => {
    const kernel = cpuKernel(name);
    if (kernel === undefined) throw new Error(`engine native has no ${name} for operands of this type, and neither has tfjs's cpu backend`);
    const cpu = quietCpu();
    const visit = new Visit(backend as NativeBackend, cpu);
    let results: TensorInfo[] = [];
    try {
      const bring = (info: TensorInfo | null | undefined): TensorInfo | null | undefined => info && visit.bring(info);
      const operands = Array.isArray(inputs) ? inputs.map(bring) : Object.fromEntries(Object.entries(inputs).map(([key, info]) => [key, bring(info)]));
      const made = kernel({ inputs: operands as typeof inputs, attrs, backend: cpu });
      results = Array.isArray(made) ? made : [made];
      const home = results.map((result) => visit.takeHome(result));
      return Array.isArray(made) ? home : home[0]!;
    } finally {
      visit.end(results);
    }
  };
}

/**
 * Registers every kernel that the cpu backend has and this one lacks.
 * @returns their names
 */
export function bridgeMissingKernels(): readonly string[] {
  quietCpu();
  const present = new Set(tf.getKernelsForBackend(BACKEND).map((kernel) => kernel.kernelName));
  const missing = tf.getKernelsForBackend('cpu').map(({ kernelName }) => kernelName).filter((kernelName) => !present.has(kernelName));
  for (const kernelName of missing) tf.registerKernel({ kernelName, backendName: BACKEND, kernelFunc: bridgedKernel(kernelName) });
  return missing;
}
