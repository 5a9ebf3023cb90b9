/** tfjs's wasm memory, and our own kernels instantiated in it: they read and write tensors where these lie. */
import { GraftError, tf } from 'graft';
import type { DataType, KernelBackend, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { KERNELS, SHARED_KERNELS } from './kernels/binary.ts';

type Address = number;

/** The exports of kernels/assembly/index.ts. */
export interface Kernels {
  attentionScratch(m: number, d: number): number;
  attention(q: Address, k: Address, v: Address, out: Address, stats: Address, scratch: Address, n: number, m: number, heads: number, groups: number, d: number, scale: number, window: number): void;
  attentionBackward(dout: Address, q: Address, k: Address, v: Address, stats: Address, dq: Address, dk: Address, dv: Address, scratch: Address, n: number, m: number, heads: number, groups: number, d: number, scale: number, window: number): void;
  dropout(x: Address, y: Address, n: number, low: number, high: number, threshold: number, kept: number): void;
  rmsNorm(x: Address, w: Address, y: Address, r: Address, rows: number, d: number, eps: number): void;
  rmsNormBackward(dy: Address, x: Address, w: Address, r: Address, dx: Address, dw: Address, rows: number, d: number): void;
  rope(x: Address, cos: Address, sin: Address, y: Address, tokens: number, heads: number, half: number, sign: number): void;
  softmaxLoss(logits: Address, classes: Address, loss: Address, rows: number, size: number): void;
  swiglu(gate: Address, up: Address, y: Address, n: number): void;
  swigluBackward(dy: Address, gate: Address, up: Address, dgate: Address, dup: Address, n: number): void;
  transpose(x: Address, y: Address, rows: number, columns: number): void;
}

/** A WebAssembly.Memory; growing it makes its buffer another one. */
interface Memory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
}

/** tfjs's wasm backend, beyond its declared type. */
export interface WasmBackend extends KernelBackend {
  readonly wasm: {
    /** Of the build with threads. */
    readonly wasmMemory?: Memory;
    /** Of the build without. */
    readonly asm: { readonly memory?: Memory };
    _malloc: (bytes: number) => number;
    _free(address: number): void;
  };
  readonly dataIdMap: { get(dataId: object): { readonly memoryOffset: number } };
  makeOutput(shape: readonly number[], dtype: DataType): TensorInfo;
  incRef(dataId: object): void;
  readSync(dataId: object): Float32Array | Int32Array | Uint8Array;
}

/** The part of WebAssembly's interface used here; Node's types leave it out. */
interface WebAssemblyApi {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>) => { readonly exports: unknown };
}

interface TrackingEngine {
  makeTensorFromTensorInfo(info: TensorInfo, backend: KernelBackend): Tensor;
}

/**
 * Makes an allocation that finds no room an error. tfjs takes the address 0 that it then gets for memory, and what lies
 * there for a tensor: every result after that is wrong.
 * @throws from then on, GraftError `OUT_OF_MEMORY`
 */
export function guardAllocation({ wasm }: WasmBackend): void {
  // The build puts its allocator in place at the first call of a stand-in, and would put it over ours.
  wasm._free(wasm._malloc(8));
  const { _malloc: allocate } = wasm;
  wasm._malloc = (bytes) => {
    const address = allocate(bytes);
    if (address !== 0 || bytes === 0) return address;
    throw new GraftError('OUT_OF_MEMORY', `There is no room for ${Math.ceil(bytes / 2 ** 20)} MiB more in WebAssembly's memory, which holds 4 GiB at most.`, {
      hint: 'Train with fewer tokens at once (micro_batch_tokens), or use a smaller model or another engine: `graft doctor` lists them.',
    });
  };
}

export class WasmMemory {
  readonly backend: WasmBackend;
  readonly kernels: Kernels;
  readonly #memory: Memory;

  constructor(backend: WasmBackend) {
    this.backend = backend;
    const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
    const memory = backend.wasm.wasmMemory ?? backend.wasm.asm.memory!;
    this.#memory = memory;
    const binary = memory.buffer instanceof SharedArrayBuffer ? SHARED_KERNELS : KERNELS;
    const { exports } = new Instance(new Module(Buffer.from(binary, 'base64')), { env: { memory } });
    this.kernels = exports as unknown as Kernels;
  }

  /** All of the memory, until it next grows. */
  bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer);
  }

  /** Where a tensor's elements begin, in bytes. Stays valid for as long as the tensor does, growth of the memory included. */
  address(tensor: TensorInfo): Address {
    return this.backend.dataIdMap.get(tensor.dataId).memoryOffset;
  }

  /** A new tensor whose elements are whatever the memory held; make it inside a tidy and fill it at once. */
  empty<T extends Tensor>(shape: readonly number[]): T {
    const engine = tf.engine() as unknown as TrackingEngine;
    return engine.makeTensorFromTensorInfo(this.backend.makeOutput(shape, 'float32'), this.backend) as T;
  }

  zeros<T extends Tensor>(shape: readonly number[]): T {
    const tensor = this.empty<T>(shape);
    new Uint8Array(this.#memory.buffer, this.address(tensor), tensor.size * 4).fill(0);
    return tensor;
  }

  /** Lends memory for the length of a call. */
  withScratch(bytes: number, use: (address: Address) => void): void {
    const address = this.backend.wasm._malloc(bytes) >>> 0;
    try {
      use(address);
    } finally {
      this.backend.wasm._free(address);
    }
  }

  /** Lends a copy of integers for the length of a call. */
  withInts(values: Int32Array, use: (address: Address) => void): void {
    this.withScratch(values.byteLength, (address) => {
      new Int32Array(this.#memory.buffer, address, values.length).set(values);
      use(address);
    });
  }
}
