/** The engine port: what computes. TensorFlow.js is the tensor language; an engine adds a backend and fused operations. */
import type { Scalar, Tensor, Tensor1D, Tensor2D, Tensor3D, Variable } from '@tensorflow/tfjs-core';

/** Element types in which a frozen weight may be kept. */
export type WeightDtype = 'f32' | 'f16' | 'bf16' | 'int8' | 'nf4';

/** A weight on its way from a checkpoint into an engine. */
export interface WeightSource {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: 'F32' | 'F16' | 'BF16';
  /** The raw little-endian bytes, row-major; may be a view of a mapped or shared buffer: copy, never keep. */
  bytes(): Uint8Array;
  /** Where the same bytes lie, of a source in a file: an engine may read or map them itself. */
  readonly file?: { readonly path: string; readonly start: number; readonly bytes: number };
}

export interface FreezeOptions {
  /** Leave the weight in its file, read as it is used: it costs no memory, and time. */
  readonly mapped?: boolean;
}

/** A weight that is not trained: opaque to everyone but the engine, which may keep it transposed, packed, quantized or mapped. */
export interface FrozenWeight {
  readonly frozen: true;
  /** `[out, in]` for a linear layer, `[vocabulary, d]` for an embedding: the checkpoint's own layout. */
  readonly shape: readonly [number, number];
  readonly dtype: WeightDtype;
  /** Bytes held; 0 of one that is mapped from its file. */
  readonly bytes: number;
  /** A new f32 tensor `[out, in]`; the caller disposes it. */
  toTensor(): Tensor2D;
  dispose(): void;
}

/** What a matrix operand may be: frozen, or a tensor `[out, in]` that may be trained. */
export type Weight = FrozenWeight | Tensor2D;

/** Consecutive rows. */
export interface RowRange {
  readonly start: number;
  readonly count: number;
}

/** `scale * (input A^T) B^T`, added to a linear layer's output. */
export interface LowRankTerm {
  /** `[T, in]`; the layer's own input when left out. */
  readonly input?: Tensor2D;
  /** `[r, in]` */
  readonly a: Tensor2D;
  /** `[out, r]` */
  readonly b: Tensor2D;
  readonly scale: number;
  /** Only these rows; all when left out. With the layer's own input only: texts with adapters of their own, in one batch. */
  readonly rows?: readonly RowRange[];
}

/** Angles of the rotary embedding of each token: cos and sin `[T, D/2]`, constants. */
export interface Rotation {
  readonly cos: Tensor2D;
  readonly sin: Tensor2D;
}

/** Which keys a query may see: query i of segment s sees the keys of s up to its own position. */
export interface AttentionShape {
  /** `[N+1]` in tokens of q. */
  readonly queryOffsets: Int32Array;
  /** `[N+1]` in tokens of k and v; equal to `queryOffsets` without a cache, else the last queries align with the last keys. */
  readonly keyOffsets: Int32Array;
  readonly scale: number;
  /** Sliding window in tokens (Mistral): a query sees itself and at most `window - 1` keys before it. */
  readonly window?: number;
  /** Turns queries and keys first, as `rope` does: where the keys are of the queries' own tokens. */
  readonly rotation?: Rotation;
}

/**
 * The operations that training a transformer lives on. Each has a portable definition in plain tfjs ops in core/tensor,
 * which is its specification and its test, and is differentiable in every tensor argument.
 */
export interface FusedOps {
  /** `y = x W^T + bias + sum of low-rank terms`: x `[T, in]`, W `[out, in]`, bias `[out]`, y `[T, out]`. */
  linear(x: Tensor2D, weight: Weight, bias?: Tensor1D, terms?: readonly LowRankTerm[]): Tensor2D;
  /** Rows of an embedding: weight `[V, d]`, ids `[T]` -> `[T, d]`. */
  embedding(weight: Weight, ids: Int32Array): Tensor2D;
  /** `x / sqrt(mean(x^2) + eps) * weight`: x `[T, d]`, weight `[d]` (Zhang and Sennrich 2019). */
  rmsNorm(x: Tensor2D, weight: Tensor1D, eps: number): Tensor2D;
  /** Rotary embedding, Hugging Face's half-split layout: x `[T, H, D]`, cos and sin `[T, D/2]` (Su et al. 2021). */
  rope(x: Tensor3D, cos: Tensor2D, sin: Tensor2D): Tensor3D;
  /** Causal attention over packed segments: q `[T, H, D]`, k and v `[Tk, Hkv, D]`, H a multiple of Hkv -> `[T, H, D]`. */
  attention(q: Tensor3D, k: Tensor3D, v: Tensor3D, shape: AttentionShape): Tensor3D;
  /** `silu(gate) * up`, all `[T, m]` (Shazeer 2020). */
  swiglu(gate: Tensor2D, up: Tensor2D): Tensor2D;
  /**
   * Cross-entropy of `hidden W^T` without keeping `[T, V]` logits for the backward: hidden `[T, d]`, W `[V, d]`,
   * targets `[T]` already shifted, -100: none. Returns the loss of each row `[T]` in nats, 0 where there is no target.
   */
  crossEntropy(hidden: Tensor2D, weight: Weight, targets: Int32Array): Tensor1D;
  /** Zeroes elements with probability `rate` and scales the others by `1 / (1 - rate)`; the mask depends on `key` alone. */
  dropout<T extends Tensor>(x: T, rate: number, key: DropoutKey): T;
}

/** Names one mask: the same key gives the same mask on every machine. */
export interface DropoutKey {
  readonly seed: number;
  /** Forward passes since the run began: a resumed run goes on with the same numbers. */
  readonly step: number;
  /** The site and the graft. */
  readonly path: string;
}

export interface EngineInfo {
  readonly name: string;
  /** What people are shown: `wasm (simd), 2 threads`. */
  readonly detail: string;
  readonly device: 'cpu' | 'gpu';
  readonly threads: number;
}

/** Numbers of one AdamW step; core/tensor/adamw.ts has the formula. */
export interface AdamWStep {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** `lr / (1 - beta1^t)` */
  readonly stepSize: number;
  /** `sqrt(1 - beta2^t)` */
  readonly correction: number;
  /** Multiplies every gradient first. */
  readonly scale: number;
  /** What weight decay leaves of each variable: `1 - lr wd`, 1 where it does not decay. */
  readonly kept: readonly number[];
}

/** Means of a variable's gradients and of their squares, float32, in the order of its elements. */
export interface AdamWMoments {
  readonly expAvg: Float32Array;
  readonly expAvgSq: Float32Array;
}

/** AdamW over a list of variables; their moments begin at 0. */
export interface AdamWUpdater {
  /** Changes every variable. @param gradients one for each, in their order; not disposed */
  update(gradients: readonly Tensor[], step: AdamWStep): void;
  /** Of each variable; may be the moments themselves, which the next update changes. */
  moments(): readonly AdamWMoments[];
  /** Copies. */
  setMoments(moments: readonly AdamWMoments[]): void;
  dispose(): void;
}

/** What an optimizer does with whole gradients. `portableOptimizer` in core/tensor is the definition: the same bits, but for the order of the norm's sum. */
export interface EngineOptimizer {
  /** The 2-norm over all gradients together; the event loop goes on while they are computed. */
  norm(gradients: readonly Tensor[]): Promise<number>;
  adamw(variables: readonly Variable[]): AdamWUpdater;
}

/** Keys and values of one text's tokens in every layer, as an engine keeps them from pass to pass. */
export interface KeyValueStore {
  /** Tokens that count. */
  readonly length: number;
  /** Bytes that so many tokens more take. */
  bytesFor(tokens: number): number;
  /** What the passes since have stored counts: `tokens` more. */
  commit(tokens: number): void;
  /** Forgets what was stored and not committed. */
  rollback(): void;
  /** Another store with the first `tokens`, at most `length`; what both hold is shared where the engine can. */
  fork(tokens: number): KeyValueStore;
  dispose(): void;
}

/** One layer's attention of new tokens over those that stores hold and over themselves. */
export interface CachedAttentionShape {
  readonly layer: number;
  /** `[N+1]` in new tokens. */
  readonly offsets: Int32Array;
  /** Of each segment. */
  readonly stores: readonly KeyValueStore[];
  /** Of each segment: whether its new keys and values are stored, in place of what was stored since the last commit. */
  readonly keep: readonly boolean[];
  readonly scale: number;
  /** As in `AttentionShape`. */
  readonly window?: number;
}

/** Attention in generating text: no gradients. `portableCachedAttention` in core/tensor is its definition. */
export interface CachedAttention {
  /** A store with nothing in it, for keys and values `[heads, size]` of a token in each of the layers. */
  createStore(shape: { readonly layers: number; readonly heads: number; readonly size: number }): KeyValueStore;
  /** Bytes of all stores that are not disposed; what several share counts once. */
  bytes(): number;
  /** q `[T, H, D]`, k and v `[T, Hkv, D]`, queries and keys turned -> `[T, H, D]`. */
  attend(q: Tensor3D, k: Tensor3D, v: Tensor3D, shape: CachedAttentionShape): Tensor3D;
}

/** A running engine: the tfjs backend that is set, and its fused operations. One per process. */
export interface Engine {
  readonly info: EngineInfo;
  readonly ops: FusedOps;
  /** Whether weights can be mapped from their files; without it `mapped` may not be asked for. */
  readonly mapsWeights?: boolean;
  /** Whether products use frozen weights in the memory that `freeze` took, and add no packed copies beside them. */
  readonly packsInPlace?: boolean;
  /** Whether what is cheap to compute again, such as a norm, is not kept for a backward. */
  readonly rematerializes?: boolean;
  /** Left out: `portableOptimizer` serves. */
  readonly optimizer?: EngineOptimizer;
  /** Left out: `portableCachedAttention` serves. */
  readonly cachedAttention?: CachedAttention;
  /** Takes a weight over into the engine's own form. */
  freeze(source: WeightSource, dtype: WeightDtype, options?: FreezeOptions): FrozenWeight;
  /** Bytes of frozen weights and tensors held. */
  memory(): { readonly frozenBytes: number; readonly tensorBytes: number; readonly tensors: number };
  dispose(): Promise<void>;
}

/** Whether an engine can run here; the states are told apart so that a person knows what to do. */
export type EngineProbe =
  | { readonly state: 'available'; readonly detail: string; readonly device: 'cpu' | 'gpu' }
  | { readonly state: 'absent' | 'no-native-library' | 'broken' | 'unsupported'; readonly detail: string; readonly remedy: string };

/** What an `engine-*` plugin provides under `engine:<name>`. */
export interface EngineProvider {
  /** Higher is preferred by `engine: auto`, for the machine that the probe saw. */
  preference(probe: EngineProbe): number;
  probe(): Promise<EngineProbe>;
  start(options: { readonly threads: number | 'auto' }): Promise<Engine>;
}

/** A loss and the gradient of each trainable, in the order asked. */
export interface ValueAndGrads {
  readonly value: Scalar;
  readonly grads: readonly Tensor[];
}
