/** The bytes that each token of a vocabulary stands for. A token may be a part of a character, which no text can show. */
import { isUtf8 } from 'node:buffer';
import type { Tokenizer } from 'graft';

/** What a vocabulary is told by. */
export type Pieces = Pick<Tokenizer, 'vocabSize' | 'token' | 'decode' | 'eosTokenIds'>;

/** Tokens decoded at once. */
const CHUNK = 256;
const BYTE_PIECE = /^<0x([0-9A-Fa-f]{2})>$/;

const tokenizerToBytes = new WeakMap<Pieces, TokenBytes>();

export class TokenBytes {
  readonly size: number;
  /** Whether a text is its tokens' bytes, one after the other: compared with what the tokenizer itself makes of them. */
  readonly exact: boolean;
  readonly #idToBytes: readonly (Uint8Array | undefined)[];
  readonly #special: ReadonlySet<number>;

  private constructor(tokenizer: Pieces) {
    this.size = tokenizer.vocabSize;
    const ids = Array.from({ length: this.size }, (_, id) => id);
    this.#special = specialsOf(tokenizer, ids);
    const pieces = ids.map((id) => tokenizer.token(id));
    const toBytes = isByteLevel(pieces) ? byteLevelBytes : byteFallbackBytes;
    // A gap in the vocabulary has no token; a special one stands for what it is called.
    this.#idToBytes = pieces.map((piece, id) => (piece === `<${id}>` ? undefined : this.#special.has(id) ? Buffer.from(piece) : toBytes(piece)));
    this.exact = this.#agrees(tokenizer);
  }

  /** Found out once for each tokenizer: some tenths of a second for a large one. */
  static of(tokenizer: Pieces): TokenBytes {
    let found = tokenizerToBytes.get(tokenizer);
    if (found === undefined) tokenizerToBytes.set(tokenizer, (found = new TokenBytes(tokenizer)));
    return found;
  }

  /** @returns undefined for an id without a token */
  bytes(id: number): Uint8Array | undefined {
    return this.#idToBytes[id];
  }

  /** Whether texts leave it out, as they do `</s>`. */
  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }

  /** Over all tokens that are whole characters. */
  #agrees(tokenizer: Pieces): boolean {
    const whole = this.#idToBytes.flatMap((bytes, id) => (bytes !== undefined && !this.#special.has(id) && isUtf8(bytes) ? [id] : []));
    for (let start = 0; start < whole.length; start += CHUNK) {
      const ids = whole.slice(start, start + CHUNK);
      const text = Buffer.concat(ids.map((id) => this.#idToBytes[id]!)).toString();
      const told = tokenizer.decode(ids, { skipSpecialTokens: false });
      // A text's first space may be the tokenizer's own.
      if (told !== text && !(text.startsWith(' ') && told === text.slice(1))) return false;
    }
    return whole.length > 0;
  }
}

/** Tokens that a text leaves out, such as `</s>`. */
function specialsOf(tokenizer: Pieces, ids: readonly number[]): ReadonlySet<number> {
  const found = new Set<number>(tokenizer.eosTokenIds);
  const differ = (some: readonly number[]): boolean => tokenizer.decode(some, { skipSpecialTokens: true }) !== tokenizer.decode(some, { skipSpecialTokens: false });
  const look = (some: readonly number[]): void => {
    if (!differ(some)) return;
    if (some.length === 1) return void found.add(some[0]!);
    const half = some.length >> 1;
    look(some.slice(0, half));
    look(some.slice(half));
  };
  for (let start = 0; start < ids.length; start += CHUNK) look(ids.slice(start, start + CHUNK));
  return found;
}

/** GPT-2's alphabet: a printable character for each byte. */
const CHARACTER_TO_BYTE: ReadonlyMap<string, number> = new Map(
  (() => {
    const printable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    let others = 0;
    return Array.from({ length: 256 }, (_, byte) => [String.fromCodePoint(printable(byte) ? byte : 256 + others++), byte] as const);
  })(),
);

function isByteLevel(pieces: readonly string[]): boolean {
  const single = new Set(pieces.filter((piece) => piece.length === 1));
  let found = 0;
  for (const character of CHARACTER_TO_BYTE.keys()) if (single.has(character)) found++;
  return found > 192;
}

function byteLevelBytes(piece: string): Uint8Array {
  const bytes = [...piece].map((character) => CHARACTER_TO_BYTE.get(character));
  // A token that was added by hand is text as it is.
  return bytes.includes(undefined) ? Buffer.from(piece) : Uint8Array.from(bytes as number[]);
}

function byteFallbackBytes(piece: string): Uint8Array {
  const byte = BYTE_PIECE.exec(piece)?.[1];
  return byte === undefined ? Buffer.from(piece.replaceAll('\u2581', ' ')) : Uint8Array.of(Number.parseInt(byte, 16));
}
