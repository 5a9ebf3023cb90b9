/** Keys and values of one sequence, layer by layer. */
import { tf, type KVCache } from 'graft';

/** `[tokens, Hkv, D]` each, keys rotated. */
export interface KeysAndValues {
  readonly k: tf.Tensor3D;
  readonly v: tf.Tensor3D;
}

/** A pass adds to it layer by layer, and `commit` makes that count: a pass that fails midway leaves it as it was. */
export class LlamaCache implements KVCache {
  #length = 0;
  #held: KeysAndValues[] = [];
  #added = new Map<number, KeysAndValues & { readonly own: boolean }>();

  get length(): number {
    return this.#length;
  }

  /**
   * Adds a layer's new keys and values `[n, Hkv, D]`.
   * @param own whether a graft computed them from an input of its own: what the base computed for these rows does not replace it
   * @returns all of the layer's so far, alive as long as the tidy around
   */
  append(layer: number, fresh: KeysAndValues, own: boolean): KeysAndValues {
    const held = this.#held[layer];
    const all = held === undefined ? { k: tf.clone(fresh.k), v: tf.clone(fresh.v) } : { k: tf.concat([held.k, fresh.k], 0), v: tf.concat([held.v, fresh.v], 0) };
    const before = this.#added.get(layer);
    if (before === undefined || own || !before.own) {
      if (before !== undefined) release(before);
      this.#added.set(layer, { k: tf.keep(tf.clone(all.k)), v: tf.keep(tf.clone(all.v)), own });
    }
    return all;
  }

  /** Makes what the pass added count as `tokens` more. */
  commit(tokens: number): void {
    for (const [layer, added] of this.#added) {
      const held = this.#held[layer];
      if (held !== undefined) release(held);
      this.#held[layer] = added;
    }
    this.#added = new Map();
    this.#length += tokens;
  }

  /** Forgets what a failed pass added. */
  rollback(): void {
    this.#added.forEach(release);
    this.#added.clear();
  }

  dispose(): void {
    this.rollback();
    this.#held.forEach(release);
    this.#held = [];
    this.#length = 0;
  }
}

function release({ k, v }: KeysAndValues): void {
  k.dispose();
  v.dispose();
}
