/** Text to tokens and back, as tokenizer.json says. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as TokenizerJson } from '@huggingface/tokenizers';
import { GraftError, readJsonFile, reasonOf, type ChatMessage, type Tokenizer } from 'graft';
import { ChatTemplate, chooseTemplate } from './chat-template.ts';
import { CHAT_TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE } from './files.ts';

/** What of a model's config a tokenizer answers for. */
export interface TokenizerContext {
  readonly bosTokenId?: number;
  /** Ids that generation_config.json or config.json give. */
  readonly eosTokenIds: readonly number[];
  /** The plugin's option of this name. */
  readonly chatTemplate?: string;
  /** Hash of the code that reads it. */
  readonly code?: string;
}

type Settings = Readonly<Record<string, unknown>>;

/** Tokens whose text templates ask for by name. */
const NAMED_TOKENS = ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const;

export class LlamaTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly hasChatTemplate: boolean;
  readonly fingerprint: string;
  readonly #json: TokenizerJson;
  readonly #template: ChatTemplate | undefined;
  readonly #cleansUp: boolean;

  private constructor(json: TokenizerJson, settings: Settings, template: string | undefined, context: TokenizerContext, cleansUp: boolean, fingerprint: string) {
    const text = (key: string) => tokenText(settings[key]);
    const idOf = (token: string | undefined) => (token === undefined ? undefined : json.token_to_id(token));
    this.#json = json;
    this.vocabSize = json.get_vocab().size;
    this.bosTokenId = idOf(text('bos_token')) ?? context.bosTokenId;
    this.bosToken = text('bos_token') ?? tokenOf(json, context.bosTokenId);
    const eosId = idOf(text('eos_token'));
    this.eosTokenIds = [...new Set([...context.eosTokenIds, ...(eosId === undefined ? [] : [eosId])])];
    this.eosToken = text('eos_token') ?? tokenOf(json, this.eosTokenIds[0]);
    const values = Object.fromEntries(NAMED_TOKENS.flatMap((key) => (text(key) === undefined ? [] : [[key, text(key)]])));
    this.#template = template === undefined ? undefined : new ChatTemplate(template, { ...values, bos_token: this.bosToken ?? '', eos_token: this.eosToken ?? '' });
    this.hasChatTemplate = this.#template !== undefined;
    this.#cleansUp = cleansUp;
    this.fingerprint = fingerprint;
  }

  /** @throws GraftError `TOKENIZER_MISSING` or `TOKENIZER` where tokenizer.json is missing or can't be understood */
  static async read(dir: string, context: TokenizerContext): Promise<LlamaTokenizer> {
    const definition = await readJsonFile(join(dir, TOKENIZER_FILE));
    if (definition === undefined) {
      throw new GraftError('TOKENIZER_MISSING', `${dir} has no ${TOKENIZER_FILE}.`, {
        option: ['model'],
        hint: 'Make one once in Python: AutoTokenizer.from_pretrained(path).save_pretrained(path).',
      });
    }
    const settings = (await readJsonFile(join(dir, TOKENIZER_CONFIG_FILE))) ?? {};
    const template = chooseTemplate(context.chatTemplate, await readText(join(dir, CHAT_TEMPLATE_FILE)), settings['chat_template']);
    const fingerprint = createHash('sha256')
      .update(JSON.stringify([definition, settings, template ?? null, context.bosTokenId ?? null, context.eosTokenIds, context.code ?? null]))
      .digest('hex');
    // For BPE, transformers 5 ignores this setting: it would take away spaces that were in the text.
    const cleansUp = settings['clean_up_tokenization_spaces'] === true && (definition['model'] as { type?: unknown } | undefined)?.type !== 'BPE';
    try {
      return new LlamaTokenizer(new TokenizerJson(definition, settings), settings, template, context, cleansUp, fingerprint);
    } catch (cause) {
      if (GraftError.is(cause)) throw cause;
      throw new GraftError('TOKENIZER', `${join(dir, TOKENIZER_FILE)} can't be understood: ${reasonOf(cause)}.`, { option: ['model'], cause });
    }
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): Int32Array {
    return Int32Array.from(this.#json.encode(text, { add_special_tokens: options.addSpecialTokens ?? true }).ids);
  }

  decode(ids: ArrayLike<number>, options: { readonly skipSpecialTokens?: boolean } = {}): string {
    if (ids.length === 0) return '';
    return this.#json.decode(Array.from(ids), { skip_special_tokens: options.skipSpecialTokens ?? true, clean_up_tokenization_spaces: this.#cleansUp });
  }

  token(id: number): string {
    return tokenOf(this.#json, id) ?? `<${id}>`;
  }

  applyChatTemplate(messages: readonly ChatMessage[], options: { readonly addGenerationPrompt?: boolean } = {}): string {
    if (this.#template === undefined) {
      throw new GraftError('NO_CHAT_TEMPLATE', 'The model has no chat template.', { hint: 'Use a template such as alpaca, or give one in the load option chat_template.' });
    }
    return this.#template.render(messages, options.addGenerationPrompt ?? false);
  }
}

function tokenOf(json: TokenizerJson, id: number | undefined): string | undefined {
  return id === undefined ? undefined : json.id_to_token(id);
}

/** A token in tokenizer_config.json: its text, or an object with it. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const content = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : undefined;
  return typeof content === 'string' ? content : undefined;
}

async function readText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}
