/** Complex tensors: two of real numbers under one name. All that computes with them is bridged. */
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';

const complex: KernelFunc = ({ inputs, backend }) => {
  const { real, imag } = inputs as unknown as { real: TensorInfo; imag: TensorInfo };
  return (backend as NativeBackend).complex(real, imag);
};

const part = (which: 'real' | 'imag'): KernelFunc => ({ inputs, backend }) => {
  const input = inputs['input'] as TensorInfo;
  const home = backend as NativeBackend;
  return home.alias(home.parts(input)[which], input.shape);
};

export const complexKernels: Readonly<Record<string, KernelFunc>> = { Complex: complex, Real: part('real'), Imag: part('imag') };
