/** One kernel on two backends: the same operands, and their results beside each other. */
import { expect } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import type { DataType, KernelBackend, NamedAttrMap, TensorInfo } from '@tensorflow/tfjs-core';
import { rng } from '../../core/index.ts';

type Values = Float32Array | Int32Array | Uint8Array;

export interface Operand {
  readonly shape: readonly number[];
  readonly dtype: DataType;
  readonly values: Values;
}

export interface Result {
  readonly shape: readonly number[];
  readonly dtype: DataType;
  readonly values: ArrayLike<number>;
}

export type Operands = readonly Operand[] | Readonly<Record<string, Operand>>;

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Seeded values: normal ones times a scale, whole ones below a bound, or truths. */
export function floats(shape: readonly number[], name: string, map: (x: number) => number = (x) => x): Operand {
  const random = rng(11, name, ...shape);
  return { shape, dtype: 'float32', values: Float32Array.from({ length: size(shape) }, () => map(random.normal())) };
}
export function ints(shape: readonly number[], name: string, from = -9, to = 9): Operand {
  const random = rng(12, name, ...shape);
  return { shape, dtype: 'int32', values: Int32Array.from({ length: size(shape) }, () => from + Math.floor(random.uniform() * (to - from + 1))) };
}
export function bools(shape: readonly number[], name: string): Operand {
  const random = rng(13, name, ...shape);
  return { shape, dtype: 'bool', values: Uint8Array.from({ length: size(shape) }, () => (random.uniform() < 0.5 ? 1 : 0)) };
}

/** The kernel's results as a backend gives them. */
export function runOn(backendName: string, kernelName: string, operands: Operands, attrs: Readonly<Record<string, unknown>>): Result[] {
  const backend = tf.findBackend(backendName) as unknown as { disposeData(id: object, force?: boolean): boolean; readSync(id: object): ArrayLike<number>; write(values: Values, shape: number[], dtype: DataType): object };
  const put = ({ shape, dtype, values }: Operand): TensorInfo => ({ dataId: backend.write(values.slice(), [...shape], dtype), shape: [...shape], dtype });
  const inputs = Array.isArray(operands) ? (operands as Operand[]).map(put) : Object.fromEntries(Object.entries(operands as Record<string, Operand>).map(([name, operand]) => [name, put(operand)]));
  const kernel = tf.getKernel(kernelName, backendName);
  const made = kernel.kernelFunc({ inputs: inputs as unknown as Record<string, TensorInfo>, attrs: attrs as NamedAttrMap, backend: backend as unknown as KernelBackend });
  const infos = Array.isArray(made) ? made : [made];
  const results = infos.map(({ dataId, shape, dtype }) => ({ shape, dtype, values: Array.from(backend.readSync(dataId)) }));
  for (const { dataId } of infos) backend.disposeData(dataId);
  for (const { dataId } of Object.values(inputs)) backend.disposeData(dataId);
  return results;
}

export interface Tolerance {
  readonly relative?: number;
  readonly absolute?: number;
}

/** Asserts shapes, types and values of `backendName` against the cpu backend's. */
export function expectAsCpu(backendName: string, kernelName: string, operands: Operands, attrs: Readonly<Record<string, unknown>> = {}, { relative = 2e-6, absolute = 1e-6 }: Tolerance = {}): void {
  const [ours, theirs] = [runOn(backendName, kernelName, operands, attrs), runOn('cpu', kernelName, operands, attrs)];
  const where = `${kernelName} of ${Object.values(operands as Record<string, Operand>).map(({ shape, dtype }) => `${dtype}[${shape.join()}]`).join(' ')} ${JSON.stringify(attrs)}`;
  expect(ours.map(({ shape, dtype }) => ({ shape, dtype })), where).toEqual(theirs.map(({ shape, dtype }) => ({ shape, dtype })));
  theirs.forEach(({ values }, which) => {
    for (let i = 0; i < values.length; i++) {
      const [mine, other] = [ours[which]!.values[i]!, values[i]!];
      const same = mine === other || (Number.isNaN(mine) && Number.isNaN(other)) || Math.abs(mine - other) <= absolute + relative * Math.abs(other);
      if (!same) expect.fail(`${where}: result ${which}, element ${i} is ${mine}, and ${other} on the cpu backend`);
    }
    expect(ours[which]!.values.length, where).toBe(values.length);
  });
}
