/** tfjs's kernels in native form; bridge.ts takes care of all others. */
import { tf } from 'graft';
import type { KernelFunc } from '@tensorflow/tfjs-core';
import { BACKEND } from '../backend.ts';
import { matMulKernels } from './mat-mul.ts';
import { shapeKernels } from './shape.ts';

export function registerNativeKernels(): void {
  const kernels: Readonly<Record<string, KernelFunc>> = { ...shapeKernels, ...matMulKernels };
  for (const [kernelName, kernelFunc] of Object.entries(kernels)) tf.registerKernel({ kernelName, backendName: BACKEND, kernelFunc });
}
