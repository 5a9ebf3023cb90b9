/** Keys and values of one sequence, which the engine keeps. */
import type { KeyValueStore, KVCache } from 'graft';

/** A pass adds to it layer by layer, and `commit` makes that count: a pass that fails midway leaves it as it was. */
export class LlamaCache implements KVCache {
  readonly store: KeyValueStore;
  /** Layers whose new keys and values are there, and whether a graft computed them from an input of its own. */
  readonly #layerToOwn = new Map<number, boolean>();

  constructor(store: KeyValueStore) {
    this.store = store;
  }

  get length(): number {
    return this.store.length;
  }

  bytesFor(tokens: number): number {
    return this.store.bytesFor(tokens);
  }

  /**
   * Whether a layer's new keys and values are to be stored; they will be.
   * @param own whether a graft computed them from an input of its own: what the base computed for these rows does not replace it
   */
  takes(layer: number, own: boolean): boolean {
    if (!own && this.#layerToOwn.get(layer) === true) return false;
    this.#layerToOwn.set(layer, own);
    return true;
  }

  /** Makes what the pass added count as `tokens` more. */
  commit(tokens: number): void {
    this.store.commit(tokens);
    this.#layerToOwn.clear();
  }

  /** Forgets what a failed pass added. */
  rollback(): void {
    this.store.rollback();
    this.#layerToOwn.clear();
  }

  fork(tokens: number): KVCache {
    return new LlamaCache(this.store.fork(tokens));
  }

  dispose(): void {
    this.store.dispose();
  }
}
