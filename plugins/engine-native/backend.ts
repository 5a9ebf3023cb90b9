/** tfjs's view of the native engine: tensors are ids, and only reading one waits for it. */
import { tf } from 'graft';
import { DataStorage, KernelBackend, type BackendTimingInfo, type BackendValues, type DataId, type DataType, type Tensor, type TensorInfo } from '@tensorflow/tfjs-core';
import type { Native } from './binding.ts';

export const BACKEND = 'graft-native';

type Numbers = Float32Array | Int32Array | Uint8Array;

interface Held {
  readonly dtype: DataType;
  readonly size: number;
  refCount: number;
  /** Undefined for strings and complex numbers, which stay on this side. */
  readonly id?: number;
  readonly strings?: Uint8Array[];
  readonly complex?: { readonly real: TensorInfo; readonly imag: TensorInfo };
}

interface TrackingEngine {
  makeTensorFromTensorInfo(info: TensorInfo, backend: KernelBackend): Tensor;
}

export function arrayOf(dtype: DataType, size: number): Numbers {
  return dtype === 'float32' ? new Float32Array(size) : dtype === 'int32' ? new Int32Array(size) : new Uint8Array(size);
}

export class NativeBackend extends KernelBackend {
  readonly native: Native;
  /** Under the name that tfjs's cpu kernels and tests know. */
  readonly data: DataStorage<Held>;

  constructor(native: Native) {
    super();
    this.native = native;
    this.data = new DataStorage<Held>(this, tf.engine());
  }

  /** The native name of a tensor. */
  id(tensor: Pick<TensorInfo, 'dataId'>): number {
    const { id, dtype } = this.data.get(tensor.dataId);
    if (id === undefined) throw new Error(`a tensor of dtype ${dtype} has no place in native memory`);
    return id;
  }

  /** A tensor that the next operation is to make. */
  output(shape: readonly number[], dtype: DataType = 'float32'): TensorInfo {
    const dataId = {};
    this.data.set(dataId, { dtype, size: tf.util.sizeFromShape([...shape]), refCount: 1, id: this.native.newId() });
    return { dataId, shape: [...shape], dtype };
  }

  /** The same as a tensor of tfjs's, tracked by the tidy around. */
  tensor<T extends Tensor>(shape: readonly number[], dtype: DataType = 'float32'): T {
    return (tf.engine() as unknown as TrackingEngine).makeTensorFromTensorInfo(this.output(shape, dtype), this) as T;
  }

  /** A tensor of tfjs's from what a kernel returned. */
  track<T extends Tensor>(info: TensorInfo): T {
    return (tf.engine() as unknown as TrackingEngine).makeTensorFromTensorInfo(info, this) as T;
  }

  /** A complex tensor: its parts under one name, which holds their memory as long as it lasts. */
  complex(real: TensorInfo, imag: TensorInfo): TensorInfo {
    const dataId = {};
    const { shape } = real;
    this.data.set(dataId, { dtype: 'complex64', size: tf.util.sizeFromShape(shape), refCount: 1, complex: { real: this.alias(real, shape), imag: this.alias(imag, shape) } });
    return { dataId, shape, dtype: 'complex64' };
  }

  /** The parts of a complex tensor. */
  parts({ dataId }: Pick<TensorInfo, 'dataId'>): { readonly real: TensorInfo; readonly imag: TensorInfo } {
    const { complex, dtype } = this.data.get(dataId);
    if (complex === undefined) throw new Error(`a tensor of dtype ${dtype} has no real and imaginary part`);
    return complex;
  }

  /** Another name for the same memory. */
  alias({ dataId, dtype }: TensorInfo, shape: readonly number[]): TensorInfo {
    this.incRef(dataId);
    return { dataId, shape: [...shape], dtype };
  }

  override write(values: BackendValues | null, shape: number[], dtype: DataType): DataId {
    const dataId = {};
    this.#set(dataId, values, shape, dtype, 1);
    return dataId;
  }

  override move(dataId: DataId, values: BackendValues, shape: number[], dtype: DataType, refCount: number): void {
    this.#set(dataId, values, shape, dtype, refCount);
  }

  #set(dataId: DataId, values: BackendValues | null, shape: number[], dtype: DataType, refCount: number): void {
    const size = tf.util.sizeFromShape(shape);
    if (dtype === 'string') {
      this.data.set(dataId, { dtype, size, refCount, strings: (values ?? []) as Uint8Array[] });
      return;
    }
    if (dtype === 'complex64') throw new Error('the native engine holds no complex values but those that tf.complex makes');
    const id = this.native.newId();
    this.data.set(dataId, { dtype, size, refCount, id });
    this.native.addon.write(id, asArray(values, dtype, size));
  }

  override readSync(dataId: DataId): BackendValues {
    const { dtype, size, id, strings, complex } = this.data.get(dataId);
    if (strings !== undefined) return strings;
    if (complex !== undefined) return tf.backend_util.mergeRealAndImagArrays(this.readSync(complex.real.dataId) as Float32Array, this.readSync(complex.imag.dataId) as Float32Array);
    const values = arrayOf(dtype, size);
    this.native.addon.read(id!, values);
    return values;
  }

  /** The event loop goes on meanwhile. */
  override async read(dataId: DataId): Promise<BackendValues> {
    const { dtype, size, id, strings, complex } = this.data.get(dataId);
    if (strings !== undefined) return strings;
    if (complex !== undefined) {
      const [real, imag] = await Promise.all([this.read(complex.real.dataId), this.read(complex.imag.dataId)]);
      return tf.backend_util.mergeRealAndImagArrays(real as Float32Array, imag as Float32Array);
    }
    const values = arrayOf(dtype, size);
    await this.native.addon.readAsync(id!, values);
    return values;
  }

  override disposeData(dataId: DataId, force = false): boolean {
    if (!this.data.has(dataId)) return true;
    const held = this.data.get(dataId);
    held.refCount--;
    if (!force && held.refCount > 0) return false;
    if (held.id !== undefined) this.native.release(held.id);
    this.data.delete(dataId);
    if (held.complex !== undefined) for (const part of Object.values(held.complex)) this.disposeData((part as TensorInfo).dataId);
    return true;
  }

  override refCount(dataId: DataId): number {
    return this.data.has(dataId) ? this.data.get(dataId).refCount : 0;
  }

  override incRef(dataId: DataId): void {
    this.data.get(dataId).refCount++;
  }

  decRef(dataId: DataId): void {
    if (this.data.has(dataId)) this.data.get(dataId).refCount--;
  }

  override numDataIds(): number {
    return this.data.numDataIds();
  }

  /** `tf.memory()` has them beside tfjs's own: bytes of the arena in use, kept for reuse, and in use at most so far. */
  override memory(): { unreliable: boolean; arenaBytes: number; arenaCachedBytes: number; arenaPeakBytes: number } {
    const { live, cached, peak } = this.native.addon.memory();
    return { unreliable: false, arenaBytes: live, arenaCachedBytes: cached, arenaPeakBytes: peak };
  }

  override timerAvailable(): boolean {
    return true;
  }

  override async time(f: () => void): Promise<BackendTimingInfo> {
    this.native.addon.drain();
    const began = performance.now();
    f();
    await this.native.addon.readAsync(-1);
    return { kernelMs: performance.now() - began };
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  override dispose(): void {}
}

function asArray(values: BackendValues | null, dtype: DataType, size: number): Numbers {
  if (values === null) return arrayOf(dtype, size);
  const given = values as Numbers;
  const right = dtype === 'float32' ? given instanceof Float32Array : dtype === 'int32' ? given instanceof Int32Array : given instanceof Uint8Array;
  if (right) return given;
  const made = arrayOf(dtype, size);
  made.set(values as unknown as ArrayLike<number>);
  return made;
}
