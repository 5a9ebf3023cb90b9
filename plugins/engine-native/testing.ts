import type { Addon } from './binding.ts';
import { Native } from './binding.ts';

/** The size of a float32 result that an operation makes. */
export interface Out {
  readonly out: number;
}

/**
 * One operation on a runtime of its own, without tfjs: a backend is bound to one instruction set for the life of its process.
 * @param args numbers as they are, arrays as tensors of them
 * @returns the results, and what the arrays given then hold
 */
export function runOn(addon: Addon, isa: string, threads: number, operation: string, args: readonly (number | Float32Array | Out)[]): { readonly outs: Float32Array[]; readonly arrays: Float32Array[] } {
  addon.start(isa, threads);
  try {
    const native = new Native(addon);
    const given = args.map((arg) => {
      if (typeof arg === 'number') return { id: arg };
      const id = native.newId();
      if (arg instanceof Float32Array) addon.write(id, arg);
      return { id, size: arg instanceof Float32Array ? arg.length : arg.out, isOut: !(arg instanceof Float32Array) };
    });
    native.run(operation, given.map(({ id }) => id));
    const read = (isOut: boolean): Float32Array[] =>
      given.flatMap((each) => {
        if (each.size === undefined || each.isOut !== isOut) return [];
        const values = new Float32Array(each.size);
        addon.read(each.id, values);
        return [values];
      });
    return { outs: read(true), arrays: read(false) };
  } finally {
    addon.stop();
  }
}

/** The largest difference of two arrays, relative to the largest number of the second where that is above 1. */
export function difference(ours: ArrayLike<number>, exact: ArrayLike<number>): number {
  if (ours.length !== exact.length) throw new RangeError(`${ours.length} numbers were compared with ${exact.length}`);
  let [largest, size] = [0, 1];
  for (let i = 0; i < ours.length; i++) {
    size = Math.max(size, Math.abs(exact[i]!));
    const off = Math.abs(ours[i]! - exact[i]!);
    if (!(off <= largest)) largest = off;
  }
  return largest / size;
}
