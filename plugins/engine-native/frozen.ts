/** Frozen weights in native memory. */
import { GraftError, reasonOf, type FreezeOptions, type FrozenWeight, type WeightDtype, type WeightSource } from 'graft';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from './backend.ts';

const STORED = { F32: 0, BF16: 1, F16: 2 } as const;
const FORMATS: Readonly<Record<WeightDtype, number>> = { f32: 0, bf16: 1, f16: 2, int8: 3, nf4: 4 };

/** Numbers that share a maximum in nf4, and maxima that share a scale. */
const NF4_BLOCK = 64;
const NF4_ABSMAX_BLOCK = 256;

/** Bytes of a matrix in a format, with its scales. */
function bytesAs(dtype: WeightDtype, rows: number, columns: number): number {
  const elements = rows * columns;
  if (dtype === 'f32') return 4 * elements;
  if (dtype === 'int8') return elements + 4 * rows;
  if (dtype !== 'nf4') return 2 * elements;
  const blocks = Math.ceil(elements / NF4_BLOCK);
  return Math.ceil(elements / 2) + blocks + 4 * Math.ceil(blocks / NF4_ABSMAX_BLOCK) + 4;
}

const elementBytes = (source: WeightSource): number => (source.dtype === 'F32' ? 4 : 2);

function checkedSize(source: WeightSource, bytes: number): number {
  const needed = source.shape.reduce((product, n) => product * n, elementBytes(source));
  if (bytes === needed) return bytes;
  throw new GraftError('WEIGHT_SIZE', `${source.name} has ${bytes} bytes; shape [${source.shape.join(', ')}] of ${source.dtype} needs ${needed}.`);
}

function checked(source: WeightSource, bytes: Uint8Array): Uint8Array {
  checkedSize(source, bytes.byteLength);
  return bytes;
}

function checkMappable(source: WeightSource, dtype: WeightDtype): void {
  const { name, file } = source;
  if (file === undefined) throw new GraftError('WEIGHT_MAPPED', `${name} lies in no file; only what does can be mapped.`);
  const stored = source.dtype.toLowerCase();
  if (dtype !== stored) {
    throw new GraftError('WEIGHT_MAPPED', `${name} is stored as ${stored}; mapped from its file, it can't be kept as ${dtype}.`, { hint: `Ask for ${stored} or auto, or do without mapping.` });
  }
  if (file.start % elementBytes(source) !== 0) throw new GraftError('WEIGHT_MAPPED', `${name} begins at byte ${file.start} of ${file.path}, in the middle of a number's place; it can't be mapped.`, { hint: 'Save the checkpoint again, or do without mapping.' });
}

export class NativeWeight implements FrozenWeight {
  readonly frozen = true;
  readonly shape: readonly [number, number];
  readonly dtype: WeightDtype;
  /** Of one that is packed later, without the rows of 0 that fill its last panel. */
  readonly bytes: number;
  /** Its name among the addon's weights. */
  readonly id: number;
  readonly #backend: NativeBackend;
  readonly #onDispose: (weight: NativeWeight) => void;
  #disposed = false;

  /**
   * @param onDispose told once, when it is disposed
   * @throws GraftError `WEIGHT_SHAPE` for what is no matrix, `WEIGHT_SIZE` where bytes and shape disagree, `WEIGHT_MAPPED` for what can't be
   * mapped, `WEIGHT_FREEZE` where its file can't be read or its numbers have no place in the format
   */
  constructor(backend: NativeBackend, source: WeightSource, dtype: WeightDtype, { mapped = false }: FreezeOptions, onDispose: (weight: NativeWeight) => void) {
    const [rows, columns] = source.shape;
    if (source.shape.length !== 2 || rows === undefined || columns === undefined) {
      throw new GraftError('WEIGHT_SHAPE', `Only matrices can be frozen; ${source.name} has shape [${source.shape.join(', ')}].`);
    }
    if (mapped) checkMappable(source, dtype);
    this.shape = [rows, columns];
    this.dtype = dtype;
    this.bytes = mapped ? 0 : bytesAs(dtype, rows, columns);
    this.id = backend.native.newWeightId();
    this.#backend = backend;
    this.#onDispose = onDispose;
    const { addon } = backend.native;
    // One weight at a time: what is read is converted and let go before the next is read, and what goes wrong belongs to this one.
    addon.drain();
    try {
      if (source.file === undefined) addon.freeze(this.id, checked(source, source.bytes()), STORED[source.dtype], FORMATS[dtype], rows, columns, true);
      else addon.freezeFile(this.id, source.file.path, source.file.start, checkedSize(source, source.file.bytes), STORED[source.dtype], FORMATS[dtype], rows, columns, mapped);
      addon.drain();
    } catch (error) {
      if (GraftError.is(error)) throw error;
      throw new GraftError('WEIGHT_FREEZE', `${source.name} can't be frozen as ${dtype}: ${reasonOf(error).replace(/^freeze: /, '')}.`, { cause: error });
    }
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
