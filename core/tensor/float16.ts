/** Rounding of float32 to 16-bit floating point, to nearest, ties to even: the inverse of half.ts wherever the value fits. */

/** bfloat16 bits of float32 bits: the upper half, rounded. */
function narrowBits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** float16 bits of float32 bits: exponent 5 (bias 15), fraction 10; beyond 65504 infinity, below 2^-14 subnormal. */
function halfBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;
  if (size >= 0x47800000) return sign | 0x7c00;
  if (size >= 0x38800000) return sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
  if (size < 0x33000000) return sign;
  const shift = 126 - (size >>> 23);
  const fraction = (size & 0x7fffff) | 0x800000;
  const half = fraction >>> shift;
  const rest = fraction & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (rest > middle || (rest === middle && (half & 1) === 1) ? half + 1 : half);
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** float32 -> bfloat16, as stored: one Uint16 a value. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const bits = bitsOf(values);
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) halves[i] = narrowBits(bits[i]!);
  return halves;
}

/** float32 -> IEEE float16, as stored. */
export function toFloat16(values: Float32Array): Uint16Array {
  const bits = bitsOf(values);
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) halves[i] = halfBits(bits[i]!);
  return halves;
}

/** The little-endian bytes of float32 values in the given type; a view of them where it is F32. */
export function bytesOf(values: Float32Array, dtype: 'F32' | 'F16' | 'BF16'): Uint8Array {
  const stored = dtype === 'F32' ? values : dtype === 'BF16' ? toBfloat16(values) : toFloat16(values);
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}
