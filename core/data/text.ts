import type { Tokenizer } from '../contracts/index.ts';
import { RowProblem } from './row.ts';

/**
 * Refuses half of a character pair: it has no UTF-8, so no tokenizer knows it.
 * @throws RowProblem with its place
 */
export function checkedText(field: string, text: string): string {
  const lone = /\p{Surrogate}/u.exec(text);
  if (lone === null) return text;
  throw new RowProblem(`the field "${field}" has an unpaired surrogate (\\u${lone[0].charCodeAt(0).toString(16)}) at character ${lone.index + 1}: half of a character, as when a text is cut inside an emoji`);
}

/** The token that ends an answer or a document: the one that the tokenizer calls EOS, else the first that ends a generation. */
export function endTokenOf(tokenizer: Tokenizer): number | undefined {
  const named = tokenizer.eosToken === undefined ? [] : tokenizer.encode(tokenizer.eosToken, { addSpecialTokens: false });
  return named.length === 1 ? named[0] : tokenizer.eosTokenIds[0];
}
