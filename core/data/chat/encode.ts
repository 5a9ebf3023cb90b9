import type { Tokenizer } from '../../contracts/index.ts';

/** Tokens of the pieces of one text. */
export interface EncodedPieces {
  /** One per piece. */
  readonly pieces: readonly Int32Array[];
  /** Boundaries across which a token would have lain, so that the text was tokenised apart there. */
  readonly cuts: number;
}

/** Encodes what begins an example. What a post-processor adds at the end, such as EOS, belongs to the end of the example. */
export function encodeStart(tokenizer: Tokenizer, text: string): Int32Array {
  const ids = tokenizer.encode(text);
  const last = ids[ids.length - 1];
  const added = last !== undefined && tokenizer.eosTokenIds.includes(last) && last !== lastOf(tokenizer.encode(text, { addSpecialTokens: false }));
  return added ? ids.subarray(0, ids.length - 1) : ids;
}

/**
 * Encodes pieces of a text as the one text that they are, and finds where each piece's tokens are. Tokenising a prompt
 * and its completion apart and as one text can differ around the boundary; a mask that takes the length of one for the
 * place in the other is off by a token. Here the tokens before a boundary are always exactly those of the text before
 * it: where one would lie across, the text is tokenised apart.
 * @param begins whether the first piece begins an example, with what the tokenizer adds there
 */
export function encodeJoint(tokenizer: Tokenizer, texts: readonly string[], begins: boolean): EncodedPieces {
  const encode = (text: string, first: boolean): Int32Array => (first && begins ? encodeStart(tokenizer, text) : text === '' ? new Int32Array(0) : tokenizer.encode(text, { addSpecialTokens: false }));
  const apart = texts.map((text, index) => encode(text, index === 0));
  const whole = encode(texts.join(''), true);
  if (startsWith(whole, apart) && whole.length === apart.reduce((sum, ids) => sum + ids.length, 0)) return { pieces: apart, cuts: 0 };

  const pieces: Int32Array[] = [];
  let cuts = 0;
  let from = 0;
  let rest = whole;
  /** Tokens of `rest` that are in `pieces`. */
  let done = 0;
  for (let next = 1; next < texts.length; next++) {
    const before = encode(texts.slice(from, next).join(''), from === 0);
    if (startsWith(rest, [before])) {
      pieces.push(rest.subarray(done, before.length));
      done = before.length;
      continue;
    }
    const asBefore = startsWith(before, pieces.slice(from));
    pieces.push(asBefore ? before.subarray(done) : encode(texts[next - 1]!, false));
    cuts++;
    from = next;
    done = 0;
    rest = encode(texts.slice(next).join(''), false);
  }
  pieces.push(rest.subarray(done));
  return { pieces, cuts };
}

function startsWith(ids: Int32Array, parts: readonly Int32Array[]): boolean {
  let at = 0;
  return parts.every((part) => part.every((id) => ids[at++] === id));
}

function lastOf(ids: Int32Array): number | undefined {
  return ids[ids.length - 1];
}
