import { beforeAll, describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import { freezePortable, type FrozenWeight, type WeightSource } from '../../core/index.ts';
import { testEngine } from '../support/engine.ts';

beforeAll(async () => {
  await testEngine();
});

const source = (dtype: WeightSource['dtype'], words: Uint16Array | Float32Array, shape: number[]): WeightSource => ({ name: 'w', dtype, shape, bytes: () => new Uint8Array(words.buffer, words.byteOffset, words.byteLength) });

/** The value of a float16 by its definition. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

describe('freezing', () => {
  it('widens every one of the 65,536 float16 values exactly', () => {
    const words = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const frozen = freezePortable(source('F16', words, [256, 256]), 'f32');
    const values = frozen.toTensor().dataSync();
    for (let i = 0; i < words.length; i++) if (!Object.is(values[i], half(i))) throw new Error(`float16 ${i.toString(16)} became ${values[i]}, not ${half(i)}`);
  });

  it('widens bfloat16 exactly, from bytes at an odd address too', () => {
    const floats = Float32Array.from([1, -2.5, 3.140625, 0, Infinity, 2 ** -126]);
    const bits = new Uint32Array(floats.buffer);
    const bytes = new Uint8Array(1 + 12);
    bits.forEach((word, i) => bytes.set([(word >>> 16) & 255, word >>> 24], 1 + 2 * i));
    const frozen = freezePortable({ name: 'w', dtype: 'BF16', shape: [2, 3], bytes: () => bytes.subarray(1) }, 'bf16');
    expect([...frozen.toTensor().dataSync()]).toEqual([...floats]);
    expect(frozen.dtype).toBe('f32');
  });

  it('copies: the source may change afterwards', () => {
    const floats = Float32Array.from([1, 2]);
    const frozen = freezePortable(source('F32', floats, [1, 2]), 'f32');
    floats[0] = 9;
    expect([...frozen.toTensor().dataSync()]).toEqual([1, 2]);
  });

  it('reads a Buffer that is part of a pool', () => {
    const pool = Buffer.alloc(64);
    pool.writeFloatLE(1.5, 21);
    pool.writeFloatLE(-2, 25);
    const frozen = freezePortable({ name: 'w', dtype: 'F32', shape: [1, 2], bytes: () => pool.subarray(21, 29) }, 'f32');
    expect([...frozen.toTensor().dataSync()]).toEqual([1.5, -2]);
  });

  it('outlives a tidy, and disposes all that it made', () => {
    const before = tf.memory().numTensors;
    let frozen!: FrozenWeight;
    tf.tidy(() => {
      frozen = freezePortable(source('F32', Float32Array.from([1, 2]), [1, 2]), 'f32');
    });
    expect(frozen.bytes).toBe(8);
    frozen.dispose();
    frozen.dispose();
    expect(tf.memory().numTensors).toBe(before);
    expect(() => frozen.toTensor()).toThrow('A frozen weight of shape [1, 2] was used after it was disposed.');
  });

  it('refuses to quantize, vectors, and bytes that do not fill the shape', () => {
    const floats = Float32Array.from([1, 2]);
    expect(() => freezePortable(source('F32', floats, [1, 2]), 'nf4')).toThrow('This engine cannot keep weights as nf4 (asked for w).');
    expect(() => freezePortable(source('F32', floats, [2]), 'f32')).toThrow('Only matrices can be frozen; w has shape [2].');
    expect(() => freezePortable(source('F32', floats, [2, 2]), 'f32')).toThrow('w has 8 bytes; shape [2, 2] of F32 needs 16.');
  });
});
