/** Requests to token ids. */
import { encodeChat, GraftError, type ChatMessage, type ServedModel, type Tokenizer } from 'graft';
import { invalid } from './api-error.ts';
import { refuseExtras, type ChatBody, type CompletionBody } from './body.ts';
import type { ServeOptions } from './options.ts';

type ChatTemplate = ServeOptions['chat_template'];

/**
 * The texts of a parameter: one for a string or a list of ids, several for a list of either.
 * @throws ApiError 400 for an empty text or an id that the vocabulary lacks
 */
export function textsOf(param: string, given: CompletionBody['prompt'], tokenizer: Tokenizer): readonly Int32Array[] {
  const one = typeof given === 'string' || isIds(given);
  const list: readonly (string | readonly number[])[] = one ? [given] : given;
  return list.map((item, index) => {
    const at = one ? param : `${param}[${index}]`;
    const ids = typeof item === 'string' ? tokenizer.encode(item) : Int32Array.from(item);
    if (ids.length === 0) throw invalid(`Invalid value for '${at}': it has no tokens.`, at, 'invalid_value');
    const outside = ids.find((id) => id >= tokenizer.vocabSize);
    if (outside !== undefined) throw invalid(`Invalid value for '${at}': token ${outside} is not in the vocabulary of ${tokenizer.vocabSize}.`, at, 'invalid_value');
    return ids;
  });
}

const isIds = (given: Exclude<CompletionBody['prompt'], string>): given is number[] => typeof given[0] === 'number';

/**
 * Renders messages as the prompt for the assistant's next turn.
 * @throws ApiError 400 for a role or content that is not text, for a name that the template has no place for, and where the
 *   template refuses the messages
 */
export function chatPrompt(messages: ChatBody['messages'], { tokenizer }: Pick<ServedModel, 'tokenizer'>, template: ChatTemplate): Int32Array {
  const turns = messages.map(plainMessage);
  if (template === 'model' && !tokenizer.hasChatTemplate) {
    throw invalid("This model has no chat template. Use /v1/completions, or set the server's option chat_template to alpaca.", 'messages', 'no_chat_template');
  }
  try {
    refuseUnusedNames(turns, tokenizer, template);
    return encodeChat(tokenizer, turns, { template: template === 'alpaca' ? 'alpaca' : 'auto' });
  } catch (error) {
    if (GraftError.is(error)) throw invalid(error.message, 'messages', 'chat_template');
    throw error;
  }
}

/** A name that the prompt would say nothing of is not to be taken as if it did. A template may show those of some roles alone. */
function refuseUnusedNames(turns: readonly ChatMessage[], tokenizer: Tokenizer, template: ChatTemplate): void {
  const named = turns.flatMap((turn, index) => ('name' in turn ? [index] : []));
  if (named.length === 0) return;
  const shows = tokenizer.hasChatTemplate && template !== 'alpaca';
  const rendered = (messages: readonly ChatMessage[]): string => tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
  const whole = shows ? rendered(turns) : '';
  for (const role of new Set(named.map((index) => turns[index]!.role))) {
    if (shows && rendered(turns.map((turn) => (turn.role === role ? { role, content: turn.content } : turn))) !== whole) continue;
    const at = `messages[${named.find((index) => turns[index]!.role === role)}].name`;
    throw invalid(`'${at}' is not supported: ${shows ? "this model's chat template" : 'the frame that messages are put into'} has no place for names of the role ${role}. Leave it out, or say the name in the content.`, at, 'unsupported_parameter');
  }
}

function plainMessage(message: ChatBody['messages'][number], index: number): ChatMessage {
  const { role, content, name } = message;
  const at = `messages[${index}]`;
  refuseExtras(at, message, ['role', 'content', 'name']);
  if (!['system', 'developer', 'user', 'assistant'].includes(role)) {
    throw invalid(`Invalid value for '${at}.role': '${role}' is not supported; use system, developer, user or assistant.`, `${at}.role`, 'invalid_value');
  }
  if (content === null) throw invalid(`Invalid value for '${at}.content': it must be text.`, `${at}.content`, 'invalid_value');
  const parts = typeof content === 'string' ? [{ type: 'text', text: content }] : content;
  const foreign = parts.find((part) => part.type !== 'text' || part.text === undefined);
  if (foreign !== undefined) throw invalid(`Invalid value for '${at}.content': a part of type '${foreign.type}' is not supported; only text is.`, `${at}.content`, 'invalid_value');
  parts.forEach((part, i) => refuseExtras(`${at}.content[${i}]`, part, ['type', 'text']));
  return { role: role === 'developer' ? 'system' : role, content: parts.map((part) => part.text ?? '').join(''), ...(name == null ? {} : { name }) };
}
