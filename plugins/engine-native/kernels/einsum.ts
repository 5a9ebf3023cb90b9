/** Einsum of two tensors as a product of matrices; every other equation is bridged. */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { batchMatMul } from './mat-mul.ts';
import { product, type NativeKernel } from './kernel.ts';
import { transpose } from './move.ts';

const EQUATION = /^([a-zA-Z]*),([a-zA-Z]*)->([a-zA-Z]*)$/;

const isSet = (indices: string): boolean => new Set(indices).size === indices.length;

/** `a[batch, rows, sum] b[batch, sum, columns] -> [batch, rows, columns]`, with the axes brought into this order and back. */
const einsum: NativeKernel = ({ inputs, attrs, backend }) => {
  const [a, b, ...more] = Object.values(inputs);
  const match = EQUATION.exec((attrs['equation'] as string).replaceAll(' ', ''));
  if (match === null || a === undefined || b === undefined || more.length > 0 || a.dtype !== 'float32' || b.dtype !== 'float32') return undefined;
  const [, ofA, ofB, ofY] = match as unknown as [string, string, string, string];
  if (![ofA, ofB, ofY].every(isSet) || ofA.length !== a.shape.length || ofB.length !== b.shape.length) return undefined;
  const sizes = new Map<string, number>();
  const record = (indices: string, shape: readonly number[]): boolean => [...indices].every((index, i) => (sizes.get(index) ?? shape[i]) === shape[i] && sizes.set(index, shape[i]!) !== undefined);
  if (!record(ofA, a.shape) || !record(ofB, b.shape)) return undefined;

  const shared = [...ofA].filter((index) => ofB.includes(index));
  const batch = shared.filter((index) => ofY.includes(index));
  const summed = shared.filter((index) => !ofY.includes(index));
  const rows = [...ofA].filter((index) => !shared.includes(index));
  const columns = [...ofB].filter((index) => !shared.includes(index));
  const made = [...batch, ...rows, ...columns];
  // An index of one operand alone that is summed over, or one of none, is left to the bridge.
  if (made.length !== ofY.length || !made.every((index) => ofY.includes(index))) return undefined;

  const sizeOf = (indices: readonly string[]): number => product(indices.map((index) => sizes.get(index)!));
  const ordered = (x: TensorInfo, own: string, order: readonly string[], shape: number[]): TensorInfo => {
    const turned = transpose(backend, x, order.map((index) => own.indexOf(index)));
    return { ...turned, shape };
  };
  const left = ordered(a, ofA, [...batch, ...rows, ...summed], [sizeOf(batch), sizeOf(rows), sizeOf(summed)]);
  const right = ordered(b, ofB, [...batch, ...summed, ...columns], [sizeOf(batch), sizeOf(summed), sizeOf(columns)]);
  const y = batchMatMul(backend, left, right, false, false);
  const result = transpose(backend, { ...y, shape: made.map((index) => sizes.get(index)!) }, [...ofY].map((index) => made.indexOf(index)));
  for (const { dataId } of [left, right, y]) backend.disposeData(dataId);
  return result;
};

export const einsumKernels: Readonly<Record<string, NativeKernel>> = { Einsum: einsum };
