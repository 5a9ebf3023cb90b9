/** tfjs's kernels in native form; what they lack, in whole or of a type, bridge.ts takes care of. */
import { tf } from 'graft';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import { BACKEND, type NativeBackend } from '../backend.ts';
import { bridgedKernel } from '../bridge.ts';
import { binaryKernels } from './binary.ts';
import { complexKernels } from './complex.ts';
import { einsumKernels } from './einsum.ts';
import { fillKernels } from './fill.ts';
import { gatherKernels } from './gather.ts';
import type { NativeKernel } from './kernel.ts';
import { matMulKernels } from './mat-mul.ts';
import { moveKernels } from './move.ts';
import { reduceKernels } from './reduce.ts';
import { shapeKernels } from './shape.ts';
import { unaryKernels } from './unary.ts';

export const nativeKernels: Readonly<Record<string, NativeKernel>> = { ...unaryKernels, ...binaryKernels, ...reduceKernels, ...moveKernels, ...gatherKernels, ...fillKernels, ...matMulKernels, ...einsumKernels };

function hasNumbers(info: TensorInfo | null | undefined): boolean {
  return info == null || (info.dtype !== 'string' && info.dtype !== 'complex64');
}

/** Strings and complex numbers, and what the kernel leaves, are bridged. */
function orBridged(kernelName: string, kernel: NativeKernel): KernelFunc {
  const bridged = bridgedKernel(kernelName);
  return (call) => {
    const inputs = call.inputs as Record<string, TensorInfo>;
    const made = Object.values(inputs).every(hasNumbers) ? kernel({ inputs, attrs: (call.attrs ?? {}) as Record<string, unknown>, backend: call.backend as NativeBackend }) : undefined;
    return made ?? bridged(call);
  };
}

export function registerNativeKernels(): void {
  const wrapped = Object.entries(nativeKernels).map(([kernelName, kernel]) => [kernelName, orBridged(kernelName, kernel)] as const);
  for (const [kernelName, kernelFunc] of [...Object.entries(shapeKernels), ...Object.entries(complexKernels), ...wrapped]) tf.registerKernel({ kernelName, backendName: BACKEND, kernelFunc });
}
