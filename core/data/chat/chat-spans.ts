import type { ChatMessage, Tokenizer } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { RowProblem } from '../row.ts';
import type { Conversation, Turn } from './conversation.ts';

/** A stretch of a rendered conversation. */
export interface Span {
  readonly text: string;
  /** Whether it is what the assistant said in a turn to be trained on, with what ends the turn. */
  readonly trained: boolean;
}

/** A conversation as the model's own template renders it. */
export interface RenderedChat {
  /** All of the text, in order. */
  readonly spans: readonly Span[];
  /** Whether what the template writes before an answer differs between training and generation. */
  readonly promptDiffers: boolean;
}

/** From where to where a turn goes in the rendered text. */
interface Place {
  readonly start: number;
  readonly end: number;
  readonly promptDiffers: boolean;
}

/**
 * Renders a conversation and finds each turn of the assistant in it.
 *
 * A turn begins where the conversation before it, rendered with the generation prompt, ends, and goes to where the
 * conversation up to it ends. Both renderings are checked to be prefixes of the whole: some templates rewrite earlier
 * turns once later ones follow (they drop what a model thought, or end only the last turn), and then the turn is looked
 * for by its own text right where it must begin.
 * @param which turns to be trained on, by their index
 * @param remedy what can be done where a turn cannot be found, for the message
 * @throws RowProblem when the template refuses the conversation, or a turn cannot be found for certain
 */
export function renderChat({ turns }: Conversation, which: (index: number) => boolean, tokenizer: Tokenizer, remedy: string): RenderedChat {
  const messages = turns.map(messageOf);
  const whole = render(tokenizer, messages, false);
  const spans: Span[] = [];
  let at = 0;
  let promptDiffers = false;
  const add = (end: number, trained: boolean): void => {
    if (end > at) spans.push({ text: whole.slice(at, end), trained });
    at = Math.max(at, end);
  };
  for (const [index, turn] of turns.entries()) {
    if (turn.role !== 'assistant' || !which(index)) continue;
    const place = placeOf(index, turn.content, messages, whole, tokenizer);
    if (place === undefined || place.start < at) {
      throw new RowProblem(`the chat template renders turn ${index + 1} differently once later turns follow, so what is to be trained on cannot be told; ${remedy}`);
    }
    promptDiffers ||= place.promptDiffers;
    add(place.start, false);
    add(place.end, true);
  }
  add(whole.length, false);
  return { spans, promptDiffers };
}

function placeOf(index: number, content: string, messages: readonly ChatMessage[], whole: string, tokenizer: Tokenizer): Place | undefined {
  const before = render(tokenizer, messages.slice(0, index), true);
  const through = render(tokenizer, messages.slice(0, index + 1), false);
  const prompted = whole.startsWith(before);
  const start = prompted ? before.length : commonPrefix(before, whole);
  if (prompted && whole.startsWith(through) && through.length > start) return { start, end: through.length, promptDiffers: false };
  // The turn's own text, at most white space after where it must begin.
  const said = content.trim();
  const found = whole.indexOf(said, start);
  if (said === '' || found === -1 || whole.slice(start, found).trim() !== '') return undefined;
  const tail = through.slice(through.lastIndexOf(said) + said.length);
  const end = found + said.length;
  return { start: prompted ? start : found, end: end + commonPrefix(tail, whole.slice(end, end + tail.length)), promptDiffers: !prompted };
}

function render(tokenizer: Tokenizer, messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
  try {
    return tokenizer.applyChatTemplate(messages, { addGenerationPrompt });
  } catch (error) {
    if (GraftError.is(error) && error.code === 'CHAT_TEMPLATE') throw new RowProblem(error.message.replace(/\.$/, ''));
    throw error;
  }
}

function messageOf({ role, content, extra }: Turn): ChatMessage {
  return { ...extra, role, content };
}

function commonPrefix(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  let same = 0;
  while (same < length && a.charCodeAt(same) === b.charCodeAt(same)) same++;
  return same;
}
