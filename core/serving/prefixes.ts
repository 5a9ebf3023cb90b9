/** Keys and values of texts that have ended, for those that begin alike: a system prompt, the turns of a chat so far. */
import type { KVCache } from '../contracts/index.ts';

interface Kept {
  readonly stack: string | undefined;
  readonly tokens: readonly number[];
  readonly cache: KVCache;
}

/** The fewest tokens that are worth keeping and sharing. */
const LEAST = 16;
/** Texts kept at most, whatever room there is: each is compared with every new one. */
const MOST = 256;

export class Prefixes {
  /** The one used last comes last. */
  readonly #kept = new Set<Kept>();
  /** Tokens that were found here rather than computed. */
  reusedTokens = 0;

  get size(): number {
    return this.#kept.size;
  }

  /** Takes over a cache that holds the first tokens of a text. */
  keep(stack: string | undefined, tokens: readonly number[], cache: KVCache): void {
    if (cache.length < LEAST || this.#kept.size >= MOST && !this.dropOldest()) return cache.dispose();
    const own = { stack, tokens: tokens.slice(0, cache.length), cache };
    for (const kept of this.#kept) {
      if (kept.stack === stack && commonLength(kept.tokens, own.tokens) === kept.tokens.length) this.#drop(kept);
    }
    this.#kept.add(own);
  }

  /**
   * A cache with as many of a text's first tokens as any text shares; its last token is left out, for the next is chosen by
   * what the model says after it.
   * @param others texts that are being generated
   * @returns undefined where nothing worthwhile is shared
   */
  find(stack: string | undefined, tokens: readonly number[], others: Iterable<{ readonly stack: string | undefined; readonly tokens: readonly number[]; readonly cache: KVCache | undefined }>): KVCache | undefined {
    let longest = LEAST - 1;
    let from: KVCache | undefined;
    let used: Kept | undefined;
    const look = (candidate: { readonly stack: string | undefined; readonly tokens: readonly number[]; readonly cache: KVCache | undefined }, kept?: Kept): void => {
      if (candidate.stack !== stack || candidate.cache === undefined) return;
      const length = Math.min(commonLength(candidate.tokens, tokens), candidate.cache.length, tokens.length - 1);
      if (length <= longest) return;
      [longest, from, used] = [length, candidate.cache, kept];
    };
    for (const kept of this.#kept) look(kept, kept);
    for (const other of others) look(other);
    if (from === undefined) return undefined;
    if (used !== undefined) {
      this.#kept.delete(used);
      this.#kept.add(used);
    }
    this.reusedTokens += longest;
    return from.fork(longest);
  }

  /** @returns false where nothing is left to drop */
  dropOldest(): boolean {
    const [oldest] = this.#kept;
    if (oldest === undefined) return false;
    this.#drop(oldest);
    return true;
  }

  /** Drops what a stack computed that is on the model no more. */
  forget(stack: string): void {
    for (const kept of this.#kept) if (kept.stack === stack) this.#drop(kept);
  }

  dispose(): void {
    while (this.dropOldest());
  }

  #drop(kept: Kept): void {
    this.#kept.delete(kept);
    kept.cache.dispose();
  }
}

/** Tokens with which both begin. */
export function commonLength(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}
