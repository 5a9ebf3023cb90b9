/** Operations of one tensor, element by element. */
import type { DataType, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { castOf, operationOf, product, type NativeKernel } from './kernel.ts';

/** @returns undefined where the operation has no form of the tensor's type */
export function unary(backend: NativeBackend, name: string, x: TensorInfo, numbers: readonly number[] = [], dtype: DataType = x.dtype): TensorInfo | undefined {
  const operation = operationOf(backend, name, x.dtype);
  if (operation === undefined) return undefined;
  const y = backend.output(x.shape, dtype);
  backend.native.run(operation, [backend.id(x), product(x.shape), backend.id(y), ...numbers]);
  return y;
}

/** To another type; to the same, it is the same memory. */
export function castTo(backend: NativeBackend, x: TensorInfo, dtype: DataType): TensorInfo {
  if (x.dtype === dtype) return backend.alias(x, x.shape);
  const y = backend.output(x.shape, dtype);
  backend.native.run(castOf(x.dtype, dtype), [backend.id(x), product(x.shape), backend.id(y)]);
  return y;
}

const PLAIN = ['Abs', 'Neg', 'Square', 'Reciprocal', 'Sqrt', 'Rsqrt', 'Exp', 'Expm1', 'Log', 'Log1p', 'Sigmoid', 'Tanh', 'Softplus', 'Erf', 'Relu', 'Relu6', 'Elu', 'Selu', 'Floor', 'Ceil', 'Round', 'Sign', 'Sin', 'Cos', 'Tan', 'Asin', 'Acos', 'Atan', 'Sinh', 'Cosh', 'Asinh', 'Acosh', 'Atanh'];
const TO_BOOL = ['IsNan', 'IsInf', 'IsFinite', 'LogicalNot'];
/** Which attributes an operation is given. */
const GIVEN: Readonly<Record<string, readonly string[]>> = { LeakyRelu: ['alpha'], Step: ['alpha'], ClipByValue: ['clipValueMin', 'clipValueMax'] };

const cast: NativeKernel = ({ inputs: { x }, attrs, backend }) => {
  const dtype = attrs['dtype'] as DataType;
  return dtype === 'string' || dtype === 'complex64' ? undefined : castTo(backend, x!, dtype);
};

const addN: NativeKernel = ({ inputs, backend }) => {
  const terms = Object.values(inputs);
  if (terms.some(({ dtype }) => dtype !== 'float32')) return undefined;
  const y = backend.output(terms[0]!.shape);
  backend.native.run('AddN', [terms.length, product(y.shape), ...terms.map((term) => backend.id(term)), backend.id(y)]);
  return y;
};

export const unaryKernels: Readonly<Record<string, NativeKernel>> = {
  ...Object.fromEntries(PLAIN.map((name): [string, NativeKernel] => [name, ({ inputs: { x }, backend }) => unary(backend, name, x!)])),
  ...Object.fromEntries(TO_BOOL.map((name): [string, NativeKernel] => [name, ({ inputs: { x }, backend }) => unary(backend, name, x!, [], 'bool')])),
  ...Object.fromEntries(Object.entries(GIVEN).map(([name, keys]): [string, NativeKernel] => [name, ({ inputs: { x }, attrs, backend }) => unary(backend, name, x!, keys.map((key) => attrs[key] as number))])),
  Cast: cast,
  AddN: addN,
};
