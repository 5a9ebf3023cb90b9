/** Real tokenizers over a few hand-picked tokens: what they decode to is what a checkpoint's would be. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LlamaTokenizer } from '../../plugins/load-llama/tokenizer.ts';

/** How pieces stand for bytes: in GPT-2's alphabet, or as SentencePiece writes them (`<0x0A>`, and U+2581 for a space). */
export type PieceKind = 'byte-level' | 'byte-fallback';

const DECODERS = {
  'byte-level': { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  'byte-fallback': {
    type: 'Sequence',
    decoders: [{ type: 'Replace', pattern: { String: '\u2581' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }],
  },
} as const satisfies Readonly<Record<PieceKind, object>>;

/** The bytes of every vocabulary of the kind, as pieces: id = byte. */
export function bytePieces(kind: PieceKind): readonly string[] {
  return Array.from({ length: 256 }, (_, byte) => (kind === 'byte-fallback' ? `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>` : byteLevel(Uint8Array.of(byte))));
}

/** A text as GPT-2's alphabet writes it. */
export function byteLevel(text: string | Uint8Array): string {
  const printable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable(byte));
  return [...Buffer.from(text)].map((byte) => String.fromCodePoint(printable(byte) ? byte : 256 + others.indexOf(byte))).join('');
}

/** A tokenizer of these pieces, and `</s>` at the end. It decodes; pieces longer than a character are never encoded to. */
export async function pieceTokenizer(kind: PieceKind, pieces: readonly string[]): Promise<LlamaTokenizer> {
  const dir = mkdtempSync(join(tmpdir(), 'graft-pieces-'));
  writeTokenizer(dir, kind, pieces);
  return LlamaTokenizer.read(dir, { eosTokenIds: [pieces.length] });
}

/** Writes tokenizer.json and tokenizer_config.json. */
export function writeTokenizer(dir: string, kind: PieceKind, pieces: readonly string[]): void {
  const all = [...pieces, '</s>'];
  if (new Set(all).size !== all.length) throw new Error('A piece stands twice.');
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [{ id: pieces.length, content: '</s>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    normalizer: null,
    pre_tokenizer: kind === 'byte-level' ? { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true } : null,
    post_processor: null,
    decoder: DECODERS[kind],
    model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: kind === 'byte-fallback', ignore_merges: false, vocab: Object.fromEntries(all.map((piece, id) => [piece, id])), merges: [] },
  };
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify({ eos_token: '</s>', tokenizer_class: 'PreTrainedTokenizerFast' }));
}
