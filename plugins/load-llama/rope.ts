/** Cosines and sines of the rotary embedding (Su et al. 2021), rounded where transformers rounds, so that logits agree. */
import { tf, type Rotation } from 'graft';
import type { RopeSettings } from './rope-settings.ts';

/** Rotations per position, `theta^(-2i/D)` scaled as the settings say: `[D/2]` in radians. */
export function inverseFrequencies(headDim: number, settings: RopeSettings): Float32Array {
  const plain = Float32Array.from({ length: headDim / 2 }, (_, i) => 1 / Math.fround(settings.theta ** Math.fround((2 * i) / headDim)));
  if (settings.type === 'default') return plain;
  if (settings.type === 'linear') return plain.map((frequency) => frequency / settings.factor);
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, trainedPositions } = settings;
  return plain.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < trainedPositions / high) return frequency;
    if (wavelength > trainedPositions / low) return frequency / factor;
    const smooth = (trainedPositions / wavelength - low) / (high - low);
    return (1 - smooth) * (frequency / factor) + smooth * frequency;
  });
}

/** Angles of every position up to the largest asked for so far, computed once. */
export class RotaryTable {
  readonly #frequencies: Float32Array;
  #cos = new Float32Array(0);
  #sin = new Float32Array(0);

  constructor(headDim: number, settings: RopeSettings) {
    this.#frequencies = inverseFrequencies(headDim, settings);
  }

  /** positions `[T]` -> `[T, D/2]` each; new tensors, the caller's. */
  at(positions: Int32Array): Rotation {
    const half = this.#frequencies.length;
    this.#reach(positions.reduce((largest, position) => Math.max(largest, position), 0) + 1);
    const cos = new Float32Array(positions.length * half);
    const sin = new Float32Array(positions.length * half);
    positions.forEach((position, row) => {
      cos.set(this.#cos.subarray(position * half, (position + 1) * half), row * half);
      sin.set(this.#sin.subarray(position * half, (position + 1) * half), row * half);
    });
    return { cos: tf.tensor2d(cos, [positions.length, half]), sin: tf.tensor2d(sin, [positions.length, half]) };
  }

  #reach(count: number): void {
    const half = this.#frequencies.length;
    const known = this.#cos.length / half;
    if (count <= known) return;
    const size = Math.max(count, 2 * known);
    const [cos, sin] = [new Float32Array(size * half), new Float32Array(size * half)];
    cos.set(this.#cos);
    sin.set(this.#sin);
    for (let position = known; position < size; position++) {
      for (let i = 0; i < half; i++) {
        const angle = Math.fround(position * this.#frequencies[i]!);
        cos[position * half + i] = Math.cos(angle);
        sin[position * half + i] = Math.sin(angle);
      }
    }
    this.#cos = cos;
    this.#sin = sin;
  }
}
