/** Tokens to text, one at a time. */
import type { Tokenizer } from '../contracts/index.ts';

/** Tokens of the prompt that are decoded along: whether a token begins with a space can depend on what stands before it. */
const CONTEXT = 6;
const INCOMPLETE = '\ufffd';

/**
 * Decodes a growing sequence. A character that is spread over several tokens (a byte each) comes out when it is whole.
 */
export class Detokenizer {
  readonly #tokenizer: Pick<Tokenizer, 'decode'>;
  readonly #ids: number[];
  /** Decoding starts here, and what precedes `#read` has been given out. */
  #start = 0;
  #read: number;

  /** @param before the tokens that the text goes on from; empty where it stands alone */
  constructor(tokenizer: Pick<Tokenizer, 'decode'>, before: ArrayLike<number> = []) {
    this.#tokenizer = tokenizer;
    this.#ids = Array.from(before).slice(-CONTEXT);
    this.#read = this.#ids.length;
  }

  /** @returns the text that this token completes, often one word, sometimes nothing */
  push(id: number): string {
    this.#ids.push(id);
    return this.#next(false);
  }

  /** @returns the rest, incomplete characters as U+FFFD */
  flush(): string {
    return this.#next(true);
  }

  #next(last: boolean): string {
    const given = this.#tokenizer.decode(this.#ids.slice(this.#start, this.#read));
    const text = this.#tokenizer.decode(this.#ids.slice(this.#start));
    if (text.length <= given.length || (!last && text.endsWith(INCOMPLETE))) return '';
    this.#start = this.#read;
    this.#read = this.#ids.length;
    return text.slice(given.length);
  }
}
