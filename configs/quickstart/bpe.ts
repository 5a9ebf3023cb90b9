/** Byte-pair encoding (Sennrich et al. 2016) with byte fallback, trained on words and written as a tokenizer.json. */

/** Tokens with a meaning of their own; their place in the list is their id. */
const SPECIAL = ['<unk>', '<s>', '</s>'] as const;
const SPACE = '\u2581';

/** A word with the space before it, or one character that is no letter: merges never cross these. */
const PIECE = /\u2581?[A-Za-z]+|[^A-Za-z]/gu;

const keyOf = (left: string, right: string): string => `${left} ${right}`;

/** Learns merges until the vocabulary is full or no pair occurs twice; ties go to the pair first in code-point order. */
function learnMerges(texts: Iterable<string>, room: number, alphabet: Set<string>): [string, string][] {
  const countOfPiece = new Map<string, number>();
  for (const text of texts) {
    for (const [piece] of text.replaceAll(' ', SPACE).matchAll(PIECE)) countOfPiece.set(piece, (countOfPiece.get(piece) ?? 0) + 1);
  }
  const words = [...countOfPiece].filter(([piece]) => piece !== '\n').map(([piece, count]) => ({ symbols: [...piece], count }));
  for (const { symbols } of words) for (const symbol of symbols) alphabet.add(symbol);

  const merges: [string, string][] = [];
  while (merges.length + alphabet.size < room) {
    const countOfPair = new Map<string, number>();
    for (const { symbols, count } of words) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        const key = keyOf(symbols[i]!, symbols[i + 1]!);
        countOfPair.set(key, (countOfPair.get(key) ?? 0) + count);
      }
    }
    let best: { key: string; count: number } | undefined;
    for (const [key, count] of countOfPair) {
      if (best === undefined || count > best.count || (count === best.count && key < best.key)) best = { key, count };
    }
    if (best === undefined || best.count < 2) break;
    const [left, right] = best.key.split(' ') as [string, string];
    merges.push([left, right]);
    for (const word of words) {
      const { symbols } = word;
      for (let i = 0; i + 1 < symbols.length; i++) {
        if (symbols[i] === left && symbols[i + 1] === right) symbols.splice(i, 2, left + right);
      }
    }
  }
  return merges;
}

/**
 * Trains a tokenizer and returns the content of its tokenizer.json (Hugging Face tokenizers format).
 *
 * A space is written `\u2581` and belongs to the word after it; a character that the vocabulary lacks becomes its UTF-8
 * bytes, so every text comes back exactly.
 * @param vocabSize upper bound: special tokens, 256 bytes, single characters, merges
 */
export function trainTokenizer(texts: Iterable<string>, vocabSize: number): Record<string, unknown> {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  const alphabet = new Set<string>([SPACE]);
  const merges = learnMerges(texts, vocabSize - SPECIAL.length - bytes.length, alphabet);
  const tokens = [...SPECIAL, ...bytes, ...[...alphabet].sort(), ...merges.map((pair) => pair.join(''))];
  const bos = { SpecialToken: { id: '<s>', type_id: 0 } };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: SPACE },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [bos, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [bos, { Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [SPECIAL.indexOf('<s>')], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [{ type: 'Replace', pattern: { String: SPACE }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id])),
      merges: merges.map((pair) => pair.join(' ')),
    },
  };
}
