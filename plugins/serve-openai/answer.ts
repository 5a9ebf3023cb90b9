/** The token loop of one answer: tokens become text, stop strings end it. Other requests get their turn between tokens, in `generate`. */
import { Detokenizer, type ServedModel } from 'graft';
import type { JsonConstraint } from './json/constraint.ts';
import { LogitRules, type LogitChanges } from './logit-rules.ts';
import { StopScanner } from './stop.ts';
import { TokenText, type ShownToken } from './token-text.ts';

export interface AnswerRequest {
  readonly served: ServedModel;
  readonly prompt: Int32Array;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly stops: readonly string[];
  readonly changes: LogitChanges;
  /** The only texts that may be said. */
  readonly json: JsonConstraint | undefined;
  /** How many of the likeliest tokens to tell beside each chosen one; undefined: tokens are not told at all. */
  readonly topLogprobs: number | undefined;
  /** Whether the text goes on from the prompt's (completions), or stands alone (chat). */
  readonly continues: boolean;
  readonly signal: AbortSignal;
}

/** A token and the natural logarithm of its probability under the model. */
export interface LikelyToken extends ShownToken {
  readonly logprob: number;
}

/** A token of the answer. */
export interface AnsweredToken extends LikelyToken {
  /** Where its text begins in the answer, in UTF-16 units. */
  readonly offset: number;
  /** The likeliest at its place, in falling order. */
  readonly top: readonly LikelyToken[];
}

export type FinishReason = 'stop' | 'length';

export type AnswerPart =
  | { readonly type: 'text'; readonly text: string; readonly tokens: readonly AnsweredToken[] }
  | { readonly type: 'end'; readonly finishReason: FinishReason; readonly completionTokens: number; readonly cachedTokens: number };

/**
 * Generates one answer. Text is given out as soon as it can't be part of a stop string or of an unfinished character;
 * tokens are reported with the text that they begin.
 * @throws the signal's reason when the client leaves
 */
export async function* answer(request: AnswerRequest): AsyncGenerator<AnswerPart> {
  const { served, prompt, signal, json, topLogprobs } = request;
  const { tokenizer } = served;
  const detokenizer = new Detokenizer(tokenizer, request.continues ? prompt : []);
  const scanner = new StopScanner(request.stops);
  const shown = topLogprobs === undefined ? undefined : new TokenText(tokenizer);
  const ends = new Set(tokenizer.eosTokenIds);
  const pending: AnsweredToken[] = [];
  let decoded = 0;
  let released = 0;
  let count = 0;
  let cached = 0;
  let ended = false;

  const part = (text: string): AnswerPart => {
    released += text.length;
    const later = pending.findIndex((token) => token.offset >= released);
    return { type: 'text', text, tokens: pending.splice(0, later === -1 ? pending.length : later) };
  };
  const finish = (finishReason: FinishReason): AnswerPart => ({ type: 'end', finishReason, completionTokens: count, cachedTokens: cached });

  const tokens = served.generate({
    inputIds: prompt,
    maxTokens: request.maxTokens,
    temperature: request.temperature,
    topP: request.topP,
    seed: request.seed,
    stopTokenIds: tokenizer.eosTokenIds,
    constraint: LogitRules.of(request.changes, json),
    signal,
    ...(topLogprobs === undefined ? {} : { topLogprobs }),
  });
  for await (const { id, logprob, top = [], cachedTokens } of tokens) {
    cached = cachedTokens ?? cached;
    if (ends.has(id)) {
      ended = true;
      break;
    }
    if (shown !== undefined) {
      const first = count === 0 && !request.continues;
      const likely = (each: { readonly id: number; readonly logprob: number }): LikelyToken => ({ ...shown.of(each.id, first), logprob: each.logprob });
      pending.push({ ...likely({ id, logprob }), offset: decoded, top: top.map(likely) });
    }
    count++;
    const piece = detokenizer.push(id);
    decoded += piece.length;
    const { text, stopped } = scanner.push(piece);
    if (text !== '') yield part(text);
    if (stopped) {
      yield finish('stop');
      return;
    }
    if (json?.complete === true) {
      ended = true;
      break;
    }
  }
  const last = scanner.push(detokenizer.flush());
  const rest = last.stopped ? last.text : last.text + scanner.flush();
  // Tokens without text may be left.
  if (rest !== '' || (!last.stopped && pending.length > 0)) yield part(rest);
  yield finish(ended || last.stopped || count < request.maxTokens ? 'stop' : 'length');
}
