/** Chat templates in Jinja, as tokenizer_config.json or chat_template.jinja bring them. */
import { Template } from '@huggingface/jinja';
import { GraftError, reasonOf, type ChatMessage } from 'graft';

/** Everything that a template may name besides the messages: `bos_token`, `eos_token` and the like. */
export type TemplateValues = Readonly<Record<string, unknown>>;

const DEFAULT_NAME = 'default';

/**
 * The text of the template to use.
 * @param asked an option that names one of several, or is a template itself
 * @param file content of chat_template.jinja, which comes first, as in transformers
 * @param configured `chat_template` of tokenizer_config.json: a text, or a list of `{ name, template }`
 * @returns undefined where there is none
 * @throws GraftError `CHAT_TEMPLATE` where several are offered and none is called default
 */
export function chooseTemplate(asked: string | undefined, file: string | undefined, configured: unknown): string | undefined {
  const named = namedTemplates(configured);
  if (asked !== undefined) {
    const chosen = named?.get(asked) ?? (/\{[{%]/.test(asked) ? asked : undefined);
    if (chosen !== undefined) return chosen;
    throw new GraftError('CHAT_TEMPLATE', `The tokenizer has no chat template called "${asked}".`, { option: ['chat_template'], hint: named === undefined ? 'It has no named ones; leave the option out, or write a Jinja template.' : `It has ${[...named.keys()].join(', ')}.` });
  }
  if (file !== undefined) return file;
  if (typeof configured === 'string') return configured;
  if (named === undefined || named.size === 0) return undefined;
  const template = named.get(DEFAULT_NAME) ?? (named.size === 1 ? [...named.values()][0] : undefined);
  if (template === undefined) throw new GraftError('CHAT_TEMPLATE', `The tokenizer has the chat templates ${[...named.keys()].join(', ')}, and none is the default.`, { option: ['chat_template'], hint: 'Name one in the option chat_template.' });
  return template;
}

/** A template parsed once, rendered for each conversation. */
export class ChatTemplate {
  readonly text: string;
  readonly #template: Template;
  readonly #values: TemplateValues;

  /** @throws GraftError `CHAT_TEMPLATE` where it is not Jinja */
  constructor(text: string, values: TemplateValues) {
    this.text = text;
    this.#values = values;
    try {
      this.#template = new Template(text);
    } catch (cause) {
      throw new GraftError('CHAT_TEMPLATE', `The model's chat template can't be read: ${reasonOf(cause)}.`, { option: ['chat_template'], cause });
    }
  }

  /** @throws GraftError `CHAT_TEMPLATE` where it refuses the messages, with its own words */
  render(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
    try {
      return this.#template.render({ ...this.#values, messages: messages.map((message) => ({ ...message })), add_generation_prompt: addGenerationPrompt, tools: null, documents: null });
    } catch (cause) {
      throw new GraftError('CHAT_TEMPLATE', `The model's chat template refuses these messages: ${reasonOf(cause)}.`, { cause });
    }
  }
}

function namedTemplates(configured: unknown): ReadonlyMap<string, string> | undefined {
  if (!Array.isArray(configured)) return undefined;
  const pairs = (configured as readonly { name?: unknown; template?: unknown }[]).filter((entry) => typeof entry.name === 'string' && typeof entry.template === 'string');
  return new Map(pairs.map(({ name, template }) => [name as string, template as string]));
}
