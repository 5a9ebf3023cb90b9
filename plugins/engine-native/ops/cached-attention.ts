/** Keys and values of texts in pages of native memory, which texts that begin alike share (Kwon et al. 2023, PagedAttention). */
import { checkFork, tf, type CachedAttention, type CachedAttentionShape, type KeyValueStore } from 'graft';
import type { Tensor, Tensor1D, Tensor3D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { checkHeads } from './attention.ts';

/** Tokens of a page: what is lost of the last page of a text, and the least that is copied when another goes on from it. */
const PAGE_TOKENS = 32;
const BYTES = 4;

interface StoreShape {
  readonly layers: number;
  readonly heads: number;
  readonly size: number;
}

/** `[layers, keys and values, PAGE_TOKENS, heads * size]`; full pages are never written again, so that they can be shared. */
interface Page {
  readonly tensor: Tensor;
  stores: number;
}

/** Of one page. */
function floatsOf({ layers, heads, size }: StoreShape): number {
  return layers * 2 * PAGE_TOKENS * heads * size;
}

/** Makes pages and frees those that no store has any more. */
class Pages {
  readonly #backend: NativeBackend;
  #floats = 0;

  constructor(backend: NativeBackend) {
    this.#backend = backend;
  }

  get bytes(): number {
    return this.#floats * BYTES;
  }

  make(shape: StoreShape): Page {
    return this.#page(floatsOf(shape), (id, floats) => this.#backend.native.run('makePage', [floats, id]));
  }

  /** A page with the first `tokens` of another. */
  copy({ tensor }: Page, { layers, heads, size }: StoreShape, tokens: number): Page {
    const width = heads * size;
    return this.#page(tensor.size, (id) => this.#backend.native.run('copyPage', [this.#backend.id(tensor), layers * 2, PAGE_TOKENS * width, tokens * width, id]));
  }

  release(page: Page): void {
    if (--page.stores > 0) return;
    this.#floats -= page.tensor.size;
    page.tensor.dispose();
  }

  #page(floats: number, fill: (id: number, floats: number) => void): Page {
    const tensor = tf.tidy(() => tf.keep(this.#backend.tensor<Tensor1D>([floats])));
    fill(this.#backend.id(tensor), floats);
    this.#floats += floats;
    return { tensor, stores: 1 };
  }
}

class PagedStore implements KeyValueStore {
  length = 0;
  readonly pages: Page[] = [];
  readonly #all: Pages;
  readonly #shape: StoreShape;

  constructor(all: Pages, shape: StoreShape) {
    this.#all = all;
    this.#shape = shape;
  }

  bytesFor(tokens: number): number {
    return this.#missing(tokens) * floatsOf(this.#shape) * BYTES;
  }

  /** Room for so many tokens more. */
  reserve(tokens: number): void {
    for (let left = this.#missing(tokens); left > 0; left--) this.pages.push(this.#all.make(this.#shape));
  }

  #missing(tokens: number): number {
    return Math.max(0, Math.ceil((this.length + tokens) / PAGE_TOKENS) - this.pages.length);
  }

  commit(tokens: number): void {
    this.length += tokens;
  }

  rollback(): void {
    for (const page of this.pages.splice(Math.ceil(this.length / PAGE_TOKENS))) this.#all.release(page);
  }

  fork(tokens: number): KeyValueStore {
    checkFork(this, tokens);
    const store = new PagedStore(this.#all, this.#shape);
    const whole = Math.floor(tokens / PAGE_TOKENS);
    for (const page of this.pages.slice(0, whole)) {
      page.stores++;
      store.pages.push(page);
    }
    if (tokens % PAGE_TOKENS > 0) store.pages.push(this.#all.copy(this.pages[whole]!, this.#shape, tokens % PAGE_TOKENS));
    store.length = tokens;
    return store;
  }

  dispose(): void {
    this.length = 0;
    this.rollback();
  }
}

/**
 * `portableCachedAttention` of core/tensor with pages: nothing that is there is copied for a new token.
 * @throws GraftError `ATTENTION_SHAPE` where heads and tensors disagree
 */
export function nativeCachedAttention(backend: NativeBackend): CachedAttention {
  const all = new Pages(backend);
  return {
    createStore: (shape) => new PagedStore(all, shape),
    bytes: () => all.bytes,
    attend: (q: Tensor3D, k: Tensor3D, v: Tensor3D, { layer, offsets, stores, keep, scale, window = 0 }: CachedAttentionShape): Tensor3D => {
      const [queries, heads, size] = q.shape;
      checkHeads(q, k, v);
      const segments = stores.flatMap((given, i) => {
        const store = given as PagedStore;
        const count = offsets[i + 1]! - offsets[i]!;
        if (keep[i] === true) store.reserve(count);
        return [count, store.length, keep[i] === true ? 1 : 0, store.pages.length, ...store.pages.map(({ tensor }) => backend.id(tensor))];
      });
      const out = backend.tensor<Tensor3D>([queries, heads, size]);
      const operands = [q, k, v].map((tensor) => backend.id(tensor));
      backend.native.run('attentionCached', [...operands, heads, k.shape[1], size, scale, Number.isFinite(window) ? window : 0, layer, PAGE_TOKENS, stores.length, ...segments, backend.id(out)]);
      return out;
    },
  };
}
