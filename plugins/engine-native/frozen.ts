/** Frozen weights in native memory. */
import { GraftError, type FrozenWeight, type WeightDtype, type WeightSource } from 'graft';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from './backend.ts';

const STORED = { F32: 0, BF16: 1, F16: 2 } as const;
const FORMATS: Readonly<Record<WeightDtype, number>> = { f32: 0, bf16: 1, f16: 2, int8: 3, nf4: 4 };

export class NativeWeight implements FrozenWeight {
  readonly frozen = true;
  readonly shape: readonly [number, number];
  readonly dtype: WeightDtype;
  /** Its name among the addon's weights. */
  readonly id: number;
  readonly #backend: NativeBackend;
  readonly #onDispose: (weight: NativeWeight) => void;
  #disposed = false;

  /**
   * @param onDispose told once, when it is disposed
   * @throws GraftError `WEIGHT_SHAPE` for what is no matrix, `WEIGHT_SIZE` where bytes and shape disagree
   */
  constructor(backend: NativeBackend, source: WeightSource, dtype: WeightDtype, onDispose: (weight: NativeWeight) => void) {
    const [rows, columns] = source.shape;
    if (source.shape.length !== 2 || rows === undefined || columns === undefined) {
      throw new GraftError('WEIGHT_SHAPE', `Only matrices can be frozen; ${source.name} has shape [${source.shape.join(', ')}].`);
    }
    this.shape = [rows, columns];
    this.dtype = dtype;
    this.id = backend.native.newWeightId();
    this.#backend = backend;
    this.#onDispose = onDispose;
    const bytes = source.bytes();
    const needed = rows * columns * (source.dtype === 'F32' ? 4 : 2);
    if (bytes.byteLength !== needed) {
      throw new GraftError('WEIGHT_SIZE', `${source.name} has ${bytes.byteLength} bytes; shape [${source.shape.join(', ')}] of ${source.dtype} needs ${needed}.`);
    }
    backend.native.addon.freeze(this.id, bytes, STORED[source.dtype], FORMATS[dtype], rows, columns, true);
  }

  get bytes(): number {
    const elements = this.shape[0] * this.shape[1];
    return this.dtype === 'f32' ? 4 * elements : 2 * elements;
  }

  /** @throws GraftError `WEIGHT_DISPOSED` */
  heldId(): number {
    if (this.#disposed) throw new GraftError('WEIGHT_DISPOSED', `A frozen weight of shape [${this.shape.join(', ')}] was used after it was disposed.`);
    return this.id;
  }

  toTensor(): Tensor2D {
    const tensor = this.#backend.tensor<Tensor2D>(this.shape);
    this.#backend.native.run('readWeight', [this.heldId(), this.#backend.id(tensor)]);
    return tensor;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#backend.native.addon.releaseWeight(this.id);
    this.#onDispose(this);
  }
}
