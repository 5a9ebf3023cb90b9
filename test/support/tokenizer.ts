import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelConfig, Tokenizer } from 'graft';
import { LlamaTokenizer } from '../../plugins/load-llama/tokenizer.ts';

/** GPT-2's byte alphabet: a printable character for every byte. */
function byteCharacters(): readonly string[] {
  const printable = (byte: number): boolean => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

export const TINY_SPECIALS = { bos: '<s>', eos: '</s>', start: '<|im_start|>', end: '<|im_end|>' } as const;

/**
 * A byte-level tokenizer of some 270 tokens: the bytes, a few merges (one of them two line ends, which can lie across a
 * boundary), and four special tokens with the ids 0 to 3. Puts `<s>` in front unless told otherwise.
 */
export function tinyTokenizerJson(): object {
  const bytes = byteCharacters();
  const newline = bytes[10]!;
  const space = bytes[32]!;
  const merges = [[newline, newline], ['t', 'h'], ['th', 'e'], ['i', 'n'], [space, 'the'], ['o', 'u']] as const;
  const specials = Object.values(TINY_SPECIALS);
  const pieces = [...specials, ...bytes, ...merges.map((pair) => pair.join(''))];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])), merges: merges.map((pair) => pair.join(' ')) },
  };
}

/** ChatML, as Qwen and SmolLM write it. */
export const CHATML = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/** Writes the tiny tokenizer's files, and a chat template if there is one, into a folder. */
export function writeTinyTokenizer(dir: string, chatTemplate?: string): void {
  const settings = { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>', ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }) };
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(tinyTokenizerJson()));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify(settings));
}

/** The tiny tokenizer as the load plugin reads it; with a chat template, `<|im_end|>` ends a generation too. */
export function tinyTokenizer(options: { readonly chatTemplate?: string; readonly eosTokenIds?: readonly number[] } = {}): Promise<Tokenizer> {
  const dir = mkdtempSync(join(tmpdir(), 'graft-tokenizer-'));
  writeTinyTokenizer(dir, options.chatTemplate);
  return LlamaTokenizer.read(dir, { eosTokenIds: options.eosTokenIds ?? (options.chatTemplate === undefined ? [1] : [1, 3]) });
}

/** The tokenizer of a model folder. */
export function readTokenizer(dir: string, eosTokenIds: readonly number[]): Promise<Tokenizer> {
  return LlamaTokenizer.read(dir, { eosTokenIds });
}

/** As much of a model's config as preprocessing reads. */
export function configOf(maxPositionEmbeddings: number): ModelConfig {
  return {
    model_type: 'llama',
    vocab_size: 512,
    hidden_size: 64,
    intermediate_size: 172,
    num_hidden_layers: 5,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 8,
    max_position_embeddings: maxPositionEmbeddings,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    bos_token_id: 1,
    eos_token_ids: [2],
    raw: {},
  };
}
