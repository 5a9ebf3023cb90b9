/** Exact widening of 16-bit floating point to float32. */
import type { WeightSource } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';

const BYTES = { F32: 4, F16: 2, BF16: 2 } as const;

/** float32 bits of a float16: sign 1, exponent 5 (bias 15), fraction 10. */
function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

/**
 * The values of a checkpoint's tensor, row-major, in memory of their own.
 * @throws GraftError `WEIGHT_SIZE` where the bytes do not fill the shape
 */
export function toFloat32(source: WeightSource): Float32Array {
  const size = source.shape.reduce((product, n) => product * n, 1);
  const bytes = source.bytes();
  if (bytes.byteLength !== size * BYTES[source.dtype]) {
    throw new GraftError('WEIGHT_SIZE', `${source.name} has ${bytes.byteLength} bytes; shape [${source.shape.join(', ')}] of ${source.dtype} needs ${size * BYTES[source.dtype]}.`);
  }
  // Not `slice`: a Buffer's is a view of the pool that it came from.
  if (source.dtype === 'F32') return new Float32Array(new Uint8Array(bytes).buffer);
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : new Uint8Array(bytes);
  const halves = new Uint16Array(aligned.buffer, aligned.byteOffset, size);
  const bits = new Uint32Array(size);
  if (source.dtype === 'BF16') for (let i = 0; i < size; i++) bits[i] = halves[i]! << 16;
  else for (let i = 0; i < size; i++) bits[i] = widenHalf(halves[i]!);
  return new Float32Array(bits.buffer);
}
