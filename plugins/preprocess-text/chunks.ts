import { checkedText, endTokenOf, GraftError, RowProblem, kindOf, type Example, type Row, type Tokenizer } from 'graft';
import type { TextOptions } from './options.ts';

/** What the chunks of a document depend on. */
export type ChunkOptions = Pick<TextOptions, 'text_field' | 'add_bos' | 'add_eos' | 'across_documents'> & { readonly max_length: number };

/**
 * Cuts documents into chunks of up to `max_length` tokens, all of them trained on.
 *
 * Within documents, a document's last chunk is as long as what is left of it, and never a single token: nothing would be
 * predicted in it. Across documents, chunks are full but for the last.
 */
export class Chunker {
  readonly #tokenizer: Tokenizer;
  readonly #options: ChunkOptions;
  readonly #eos: number | undefined;
  /** Tokens waiting for a full chunk, across documents. */
  #held: number[] = [];
  #heldFrom: Pick<Row, 'file' | 'line'> = { file: '', line: 0 };
  /** Documents, or what is left of one, too short to predict anything in. */
  tooShort = 0;

  /** @throws GraftError `NO_EOS` when documents are to end with a token that the tokenizer does not have */
  constructor(tokenizer: Tokenizer, options: ChunkOptions) {
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#eos = options.add_eos ? endTokenOf(tokenizer) : undefined;
    if (options.add_eos && this.#eos === undefined) throw new GraftError('NO_EOS', 'add_eos is set, and the tokenizer has no end token.', { option: ['add_eos'], hint: 'Set add_eos: false.' });
  }

  /** @throws RowProblem when the row holds no text */
  add(row: Row): readonly Example[] {
    const ids = this.#idsOf(textOf(row, this.#options.text_field));
    const { max_length: size } = this.#options;
    if (!this.#options.across_documents) {
      if (ids.length < 2) {
        this.tooShort++;
        return [];
      }
      return cut(ids, size).map((chunk) => exampleOf(chunk, row));
    }
    const examples: Example[] = [];
    if (this.#held.length === 0) this.#heldFrom = row;
    for (const id of ids) {
      this.#held.push(id);
      if (this.#held.length < size) continue;
      examples.push(exampleOf(Int32Array.from(this.#held), this.#heldFrom));
      this.#held = [];
      this.#heldFrom = row;
    }
    return examples;
  }

  /** The last chunk, across documents. */
  finish(): readonly Example[] {
    const rest = Int32Array.from(this.#held);
    this.#held = [];
    if (rest.length === 1) this.tooShort++;
    return rest.length < 2 ? [] : [exampleOf(rest, this.#heldFrom)];
  }

  #idsOf(text: string): Int32Array {
    const { bosTokenId } = this.#tokenizer;
    const bare = this.#tokenizer.encode(text, { addSpecialTokens: false });
    const begin = this.#options.add_bos && bosTokenId !== undefined && bare[0] !== bosTokenId ? [bosTokenId] : [];
    const end = this.#eos !== undefined && bare[bare.length - 1] !== this.#eos ? [this.#eos] : [];
    const ids = new Int32Array(begin.length + bare.length + end.length);
    ids.set(begin);
    ids.set(bare, begin.length);
    ids.set(end, begin.length + bare.length);
    return ids;
  }
}

function textOf(row: Row, field: string): string {
  const text = row.value[field];
  if (typeof text !== 'string') {
    const others = Object.keys(row.value).filter((name) => name !== field);
    throw new RowProblem(text === undefined ? `the field "${field}" is missing (there ${others.length === 0 ? 'is none' : `is ${others.map((name) => `"${name}"`).join(', ')}`}); name the one that holds the text with text_field` : `the field "${field}" must be text, and is ${kindOf(text)}`);
  }
  if (text.trim() === '') throw new RowProblem(`the field "${field}" is empty`);
  return checkedText(field, text);
}

/** Full chunks and what is left; one token is never left alone. */
function cut(ids: Int32Array, size: number): readonly Int32Array[] {
  const chunks: Int32Array[] = [];
  for (let at = 0; at < ids.length; ) {
    const left = ids.length - at;
    const length = left === size + 1 ? size - 1 : Math.min(size, left);
    chunks.push(ids.slice(at, at + length));
    at += length;
  }
  return chunks;
}

function exampleOf(inputIds: Int32Array, { file, line }: Pick<Row, 'file' | 'line'>): Example {
  return { inputIds, labels: inputIds, info: { file, line, fullLength: inputIds.length, truncated: 0 } };
}
