/** The token loop of one answer: tokens become text, stop strings end it. Other requests get their turn between tokens, in `generate`. */
import { Detokenizer, type ServedModel } from 'graft';
import { StopScanner } from './stop.ts';

export interface AnswerRequest {
  readonly served: ServedModel;
  readonly prompt: Int32Array;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly stops: readonly string[];
  /** Whether the text goes on from the prompt's (completions), or stands alone (chat). */
  readonly continues: boolean;
  readonly signal: AbortSignal;
}

/** A token of the answer and how likely it was. */
export interface AnsweredToken {
  readonly token: string;
  /** Natural logarithm of its probability under the model. */
  readonly logprob: number;
  /** Where its text begins in the answer, in UTF-16 units. */
  readonly offset: number;
}

export type AnswerPart =
  | { readonly type: 'text'; readonly text: string; readonly tokens: readonly AnsweredToken[] }
  | { readonly type: 'end'; readonly finishReason: 'stop' | 'length'; readonly completionTokens: number };

/**
 * Generates one answer. Text is given out as soon as it can't be part of a stop string or of an unfinished character;
 * tokens are reported with the text that they begin.
 * @throws the signal's reason when the client leaves
 */
export async function* answer(request: AnswerRequest): AsyncGenerator<AnswerPart> {
  const { served, prompt, signal } = request;
  const { tokenizer } = served;
  const detokenizer = new Detokenizer(tokenizer, request.continues ? prompt : []);
  const scanner = new StopScanner(request.stops);
  const ends = new Set(tokenizer.eosTokenIds);
  const pending: AnsweredToken[] = [];
  let decoded = 0;
  let released = 0;
  let count = 0;
  let ended = false;

  const part = (text: string): AnswerPart => {
    released += text.length;
    const later = pending.findIndex((token) => token.offset >= released);
    return { type: 'text', text, tokens: pending.splice(0, later === -1 ? pending.length : later) };
  };
  const finish = (finishReason: 'stop' | 'length'): AnswerPart => ({ type: 'end', finishReason, completionTokens: count });

  const tokens = served.generate({
    inputIds: prompt,
    maxTokens: request.maxTokens,
    temperature: request.temperature,
    topP: request.topP,
    seed: request.seed,
    stopTokenIds: tokenizer.eosTokenIds,
    signal,
  });
  for await (const { id, logprob } of tokens) {
    if (ends.has(id)) {
      ended = true;
      break;
    }
    count++;
    pending.push({ token: tokenizer.decode([id], { skipSpecialTokens: false }), logprob, offset: decoded });
    const piece = detokenizer.push(id);
    decoded += piece.length;
    const { text, stopped } = scanner.push(piece);
    if (text !== '') yield part(text);
    if (stopped) {
      yield finish('stop');
      return;
    }
  }
  const last = scanner.push(detokenizer.flush());
  const rest = last.stopped ? last.text : last.text + scanner.flush();
  if (rest !== '') yield part(rest);
  yield finish(ended || last.stopped || count < request.maxTokens ? 'stop' : 'length');
}
