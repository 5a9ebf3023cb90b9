import { createHash } from 'node:crypto';
import { Template } from '@huggingface/jinja';
import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { GraftError, reasonOf, type ModelConfig, type Tokenizer } from 'graft';

/** A tokenizer of tokenizer.json and tokenizer_config.json, for tests that load no model. */
export function tokenizerOf(tokenizerJson: object, config: Readonly<Record<string, unknown>>, eosTokenIds: readonly number[]): Tokenizer {
  const tokenizer = new HfTokenizer(tokenizerJson, config);
  const template = typeof config['chat_template'] === 'string' ? new Template(config['chat_template']) : undefined;
  const bosToken = config['bos_token'] as string | undefined;
  const eosToken = config['eos_token'] as string | undefined;
  return {
    vocabSize: tokenizer.get_vocab().size,
    bosTokenId: bosToken === undefined ? undefined : tokenizer.token_to_id(bosToken),
    eosTokenIds,
    eosToken,
    bosToken,
    hasChatTemplate: template !== undefined,
    fingerprint: createHash('sha256').update(JSON.stringify([tokenizerJson, config, eosTokenIds])).digest('hex'),
    encode: (text, { addSpecialTokens = true } = {}) => Int32Array.from(tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids),
    decode: (ids, { skipSpecialTokens = true } = {}) => tokenizer.decode(Array.from(ids), { skip_special_tokens: skipSpecialTokens }),
    token: (id) => tokenizer.id_to_token(id) ?? '',
    applyChatTemplate: (messages, { addGenerationPrompt = false } = {}) => {
      if (template === undefined) throw new GraftError('NO_CHAT_TEMPLATE', 'The model brings no chat template.');
      try {
        return template.render({
          messages: messages.map((message) => ({ ...message })),
          add_generation_prompt: addGenerationPrompt,
          bos_token: bosToken ?? '',
          eos_token: eosToken ?? '',
          raise_exception: (reason: string) => {
            throw new Error(reason);
          },
        });
      } catch (error) {
        throw new GraftError('CHAT_TEMPLATE', `The chat template refuses the messages: ${reasonOf(error)}.`, { cause: error });
      }
    },
  };
}

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

/** The tiny tokenizer; with ChatML and `<|im_end|>` among its end tokens when asked for. */
export function tinyTokenizer(options: { readonly chatTemplate?: string; readonly eosTokenIds?: readonly number[] } = {}): Tokenizer {
  const config = { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>', ...(options.chatTemplate === undefined ? {} : { chat_template: options.chatTemplate }) };
  return tokenizerOf(tinyTokenizerJson(), config, options.eosTokenIds ?? (options.chatTemplate === undefined ? [1] : [1, 3]));
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
