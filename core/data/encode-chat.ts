import type { ChatMessage, Tokenizer } from '../contracts/index.ts';

/**
 * Renders messages as the prompt for the assistant's next turn: by the model's own chat template, or, where there is none,
 * in the frame that instruction tuning uses by default (Taori et al. 2023, without its preamble).
 * @param options.template `alpaca`: that frame in any case; default `auto`
 * @returns `[T]` token ids
 * @throws GraftError `CHAT_TEMPLATE` where the model's template refuses the messages
 */
export function encodeChat(tokenizer: Tokenizer, messages: readonly ChatMessage[], options: { readonly template?: 'auto' | 'alpaca' } = {}): Int32Array {
  if (tokenizer.hasChatTemplate && options.template !== 'alpaca') {
    // The template writes the special tokens itself.
    return tokenizer.encode(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }), { addSpecialTokens: false });
  }
  return tokenizer.encode(messages.map((message) => framed(message, tokenizer.eosToken ?? '')).join(''));
}

/** Earlier turns stand in the same frame, each answer ended as in training. */
function framed({ role, content }: ChatMessage, endOfTurn: string): string {
  if (role === 'assistant') return `${content}${endOfTurn}\n\n`;
  if (role === 'system') return `${content}\n\n`;
  return `### Instruction:\n${content}\n\n### Response:\n`;
}
