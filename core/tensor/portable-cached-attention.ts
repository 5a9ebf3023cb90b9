/** The definition of `CachedAttention`, in plain tfjs ops: each store's keys and values are tensors that grow. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor3D } from '@tensorflow/tfjs-core';
import type { CachedAttention, FusedOps, KeyValueStore } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';

/** `[tokens, Hkv, D]` each, keys turned. */
interface KeysAndValues {
  readonly k: Tensor3D;
  readonly v: Tensor3D;
}

type StoreShape = Parameters<CachedAttention['createStore']>[0];

const BYTES = 4;

class PortableStore implements KeyValueStore {
  length = 0;
  readonly #all: Set<PortableStore>;
  readonly #shape: StoreShape;
  #held = new Map<number, KeysAndValues>();
  #fresh = new Map<number, KeysAndValues>();

  constructor(all: Set<PortableStore>, shape: StoreShape) {
    this.#all = all;
    this.#shape = shape;
    all.add(this);
  }

  bytesFor(tokens: number): number {
    const { layers, heads, size } = this.#shape;
    return tokens * layers * 2 * heads * size * BYTES;
  }

  get bytes(): number {
    return [...this.#held.values(), ...this.#fresh.values()].reduce((sum, { k, v }) => sum + (k.size + v.size) * BYTES, 0);
  }

  /** A layer's keys and values with new ones behind them, alive as long as the tidy around. */
  with(layer: number, { k, v }: KeysAndValues, keep: boolean): KeysAndValues {
    const held = this.#held.get(layer);
    const all = held === undefined ? { k: tf.clone(k), v: tf.clone(v) } : { k: tf.concat([held.k, k], 0), v: tf.concat([held.v, v], 0) };
    if (keep) {
      const before = this.#fresh.get(layer);
      if (before !== undefined) release(before);
      this.#fresh.set(layer, { k: tf.keep(tf.clone(all.k)), v: tf.keep(tf.clone(all.v)) });
    }
    return all;
  }

  commit(tokens: number): void {
    for (const [layer, fresh] of this.#fresh) {
      const held = this.#held.get(layer);
      if (held !== undefined) release(held);
      this.#held.set(layer, fresh);
    }
    this.#fresh.clear();
    this.length += tokens;
  }

  rollback(): void {
    this.#fresh.forEach(release);
    this.#fresh.clear();
  }

  fork(tokens: number): KeyValueStore {
    checkFork(this, tokens);
    const store = new PortableStore(this.#all, this.#shape);
    if (tokens > 0) this.#held.forEach(({ k, v }, layer) => store.#held.set(layer, { k: beginning(k, tokens), v: beginning(v, tokens) }));
    store.length = tokens;
    return store;
  }

  dispose(): void {
    this.rollback();
    this.#held.forEach(release);
    this.#held.clear();
    this.length = 0;
    this.#all.delete(this);
  }
}

/** @param ops whose `attention` computes */
export function portableCachedAttention(ops: Pick<FusedOps, 'attention'>): CachedAttention {
  const stores = new Set<PortableStore>();
  return {
    createStore: (shape) => new PortableStore(stores, shape),
    bytes: () => [...stores].reduce((sum, { bytes }) => sum + bytes, 0),
    attend: (q, k, v, { layer, offsets, stores: ofSegments, keep, scale, window }) =>
      tf.tidy(() => {
        const parts = ofSegments.map((store, segment) => {
          const [start, count] = [offsets[segment]!, offsets[segment + 1]! - offsets[segment]!];
          return (store as PortableStore).with(layer, { k: rowsOf(k, start, count), v: rowsOf(v, start, count) }, keep[segment]!);
        });
        const keyOffsets = new Int32Array(parts.length + 1);
        parts.forEach((part, i) => (keyOffsets[i + 1] = keyOffsets[i]! + part.k.shape[0]));
        const joined = (list: readonly Tensor3D[]): Tensor3D => (list.length === 1 ? list[0]! : tf.concat([...list], 0));
        return ops.attention(q, joined(parts.map((part) => part.k)), joined(parts.map((part) => part.v)), { queryOffsets: offsets, keyOffsets, scale, window });
      }),
  };
}

/** @throws GraftError `CACHE_FORK` where a store holds fewer tokens than are asked for */
export function checkFork({ length }: Pick<KeyValueStore, 'length'>, tokens: number): void {
  if (Number.isInteger(tokens) && tokens >= 0 && tokens <= length) return;
  throw new GraftError('CACHE_FORK', `A cache of ${length} tokens can not give away the first ${tokens}.`);
}

function rowsOf(x: Tensor3D, start: number, count: number): Tensor3D {
  return tf.slice(x, [start, 0, 0], [count, x.shape[1], x.shape[2]]);
}

function beginning(x: Tensor3D, count: number): Tensor3D {
  return tf.tidy(() => tf.keep(rowsOf(x, 0, count)));
}

function release({ k, v }: KeysAndValues): void {
  k.dispose();
  v.dispose();
}
