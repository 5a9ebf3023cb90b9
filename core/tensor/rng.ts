/** A counter-based generator: a stream is a key and a counter, so that any part of a run can be drawn again without what came before. */

/** One stream of random numbers. */
export interface Rng {
  /** The next 32 random bits, 0 to 2^32 - 1. */
  next(): number;
  /** Uniform in [0, 1), a multiple of 2^-32. */
  uniform(): number;
  /** Normal with mean 0 and deviation 1 (Box and Muller 1958). */
  normal(): number;
  /** An integer from 0 to `n - 1`, without modulo bias. */
  integer(n: number): number;
  /** Shuffles in place (Fisher-Yates) and returns the same array. */
  shuffle<A extends unknown[] | Int32Array | Float32Array>(array: A): A;
}

/** A stream's identity: two 32-bit words. */
export interface RngKey {
  readonly low: number;
  readonly high: number;
}

const GOLDEN = 0x9e3779b9;

/** 32-bit finalizer with full avalanche (Wellons, `lowbias32`). */
function mix(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Names a stream; numbers and strings that differ give streams that differ. */
export function rngKey(seed: number, ...names: readonly (string | number)[]): RngKey {
  let low = mix((seed >>> 0) ^ 0x243f6a88);
  let high = mix(Math.floor(seed / 2 ** 32) ^ 0x85a308d3 ^ low);
  for (const name of names) {
    const text = typeof name === 'number' ? `#${name}` : `$${name}`;
    for (let i = 0; i < text.length; i++) low = mix(low ^ text.charCodeAt(i) ^ Math.imul(i + 1, GOLDEN));
    high = mix(high ^ low ^ text.length);
  }
  return { low, high };
}

/** The 32 random bits at one place of a stream: what `Rng.next` and dropout masks are made of. */
export function bitsAt({ low, high }: RngKey, counter: number): number {
  return mix(mix((Math.imul(counter, GOLDEN) + low) | 0) ^ high);
}

/**
 * Starts a stream. The same seed and names give the same numbers on every machine.
 * @example rng(42, 'shuffle', epoch).shuffle(order)
 */
export function rng(seed: number, ...names: readonly (string | number)[]): Rng {
  const key = rngKey(seed, ...names);
  let counter = 0;
  let spare: number | undefined;

  const next = (): number => bitsAt(key, counter++);
  const uniform = (): number => next() / 2 ** 32;

  const normal = (): number => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };

  const integer = (n: number): number => {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) throw new RangeError(`integer(n) needs a whole n from 1 to 2^32, not ${n}.`);
    const fair = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const bits = next();
      if (bits < fair) return bits % n;
    }
  };

  const shuffle = <A extends unknown[] | Int32Array | Float32Array>(array: A): A => {
    for (let i = array.length - 1; i > 0; i--) {
      const j = integer(i + 1);
      const held = array[i];
      array[i] = array[j] as typeof held & number;
      array[j] = held as typeof held & number;
    }
    return array;
  };

  return { next, uniform, normal, integer, shuffle };
}
