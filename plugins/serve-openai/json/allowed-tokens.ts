/** Which tokens of a vocabulary a text can go on with. */
import { isUtf8 } from 'node:buffer';
import { TokenBytes, type Pieces } from '../token-bytes.ts';
import type { Position, Positions } from './automaton.ts';

export interface Allowed {
  /** Whether all plain tokens (see `isPlain`) are allowed, beside `ids`. */
  readonly plain: boolean;
  readonly ids: Int32Array;
}

const tokenizerToLists = new WeakMap<Pieces, AllowedTokens>();

/**
 * Most tokens are plain text, and inside a string all of them are allowed: only the others are tried there. Elsewhere few
 * tokens get past their first byte.
 */
export class AllowedTokens {
  readonly tokens: TokenBytes;
  readonly #plain: TokenList;
  readonly #others: TokenList;
  /** All ids that are not plain. */
  readonly notPlain: Int32Array;

  private constructor(tokenizer: Pieces) {
    this.tokens = TokenBytes.of(tokenizer);
    const [plain, others, never]: [number[], number[], number[]] = [[], [], []];
    for (let id = 0; id < this.tokens.size; id++) {
      const bytes = this.tokens.bytes(id);
      if (bytes === undefined || bytes.length === 0 || this.tokens.isSpecial(id)) never.push(id);
      else (isPlain(bytes) ? plain : others).push(id);
    }
    const list = (ids: readonly number[]): TokenList => new TokenList(ids.map((id) => ({ id, bytes: this.tokens.bytes(id)! })));
    this.#plain = list(plain);
    this.#others = list(others);
    this.notPlain = Int32Array.from([...others, ...never]);
  }

  static of(tokenizer: Pieces): AllowedTokens {
    let lists = tokenizerToLists.get(tokenizer);
    if (lists === undefined) tokenizerToLists.set(tokenizer, (lists = new AllowedTokens(tokenizer)));
    return lists;
  }

  at(positions: Positions, position: Position): Allowed {
    const ids: number[] = [];
    this.#others.walk(positions, position, ids);
    if (!position.free) this.#plain.walk(positions, position, ids);
    return { plain: position.free, ids: Int32Array.from(ids) };
  }
}

/** Tokens in the order of their bytes: those that begin alike are neighbours, and fail together. */
class TokenList {
  readonly #ids: Int32Array;
  /** The bytes of all, one token after the other; token i ends at `#ends[i]`. */
  readonly #bytes: Uint8Array;
  readonly #ends: Int32Array;
  /** Bytes that each has in common with the one before. */
  readonly #common: Int32Array;

  constructor(tokens: readonly { readonly id: number; readonly bytes: Uint8Array }[]) {
    // A character for each byte: strings of these compare as the bytes do, and faster.
    const sorted = tokens.map(({ id, bytes }) => ({ id, text: Buffer.from(bytes).toString('latin1') })).sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0));
    this.#ids = Int32Array.from(sorted, ({ id }) => id);
    this.#bytes = Buffer.from(sorted.map(({ text }) => text).join(''), 'latin1');
    let end = 0;
    this.#ends = Int32Array.from(sorted, ({ text }) => (end += text.length));
    this.#common = Int32Array.from(sorted, ({ text }, i) => {
      const before = sorted[i - 1]?.text ?? '';
      let length = 0;
      while (length < text.length && length < before.length && text.charCodeAt(length) === before.charCodeAt(length)) length++;
      return length;
    });
  }

  /** Adds the ids of the tokens that a text can go on with. */
  walk(positions: Positions, from: Position, found: number[]): void {
    // reached[d]: where the first d bytes of the token lead; `good` of them are allowed.
    const reached: Position[] = [from];
    let good = 0;
    let start = 0;
    for (let i = 0; i < this.#ids.length; i++) {
      const first = start;
      start = this.#ends[i]!;
      if (this.#common[i]! > good) continue;
      good = this.#common[i]!;
      const length = start - first;
      while (good < length) {
        const next = positions.next(reached[good]!, this.#bytes[first + good]!);
        if (next === undefined) break;
        reached[++good] = next;
      }
      if (good === length) found.push(this.#ids[i]!);
    }
  }
}

/** Whether a token is whole characters that mean themselves inside a JSON string. */
function isPlain(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte >= 0x20 && byte !== 0x22 && byte !== 0x5c) && isUtf8(bytes);
}
