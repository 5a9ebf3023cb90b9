/** Tokens as an answer's log probabilities show them. */
import type { Tokenizer } from 'graft';
import { isUtf8 } from 'node:buffer';
import { TokenBytes } from './token-bytes.ts';

export interface ShownToken {
  /** Its text; for a part of a character its bytes, as `bytes:\xf0\x9f`. */
  readonly token: string;
  /** What it adds to the text, in UTF-8. */
  readonly bytes: readonly number[];
}

export class TokenText {
  readonly #tokenizer: Tokenizer;
  readonly #bytes: TokenBytes;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
    this.#bytes = TokenBytes.of(tokenizer);
  }

  /** @param first whether it begins a text that stands alone: some tokenizers leave out its space */
  of(id: number, first: boolean): ShownToken {
    const alone = (): string => this.#tokenizer.decode([id], { skipSpecialTokens: false });
    const bytes = this.#bytes.exact ? this.#bytes.bytes(id) : undefined;
    if (bytes === undefined) return shown(Buffer.from(alone()));
    if (first && bytes[0] === 0x20 && isUtf8(bytes) && !alone().startsWith(' ')) return shown(bytes.subarray(1));
    return shown(bytes);
  }
}

function shown(bytes: Uint8Array): ShownToken {
  const token = isUtf8(bytes) ? Buffer.from(bytes).toString() : `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  return { token, bytes: [...bytes] };
}
