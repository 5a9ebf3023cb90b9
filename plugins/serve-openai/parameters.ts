/** What completions and chat have in common: how to sample, when to stop, how long. */
import { randomInt } from 'node:crypto';
import type { ServedModel } from 'graft';
import { invalid } from './api-error.ts';
import type { ChatBody, CompletionBody } from './body.ts';
import type { LogitChanges } from './logit-rules.ts';
import type { JsonFormat } from './response-format.ts';

export interface Parameters {
  readonly n: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly stops: readonly string[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly changes: LogitChanges;
  /** How many of the likeliest tokens to tell beside each chosen one; undefined: tokens are not told at all. */
  readonly topLogprobs: number | undefined;
  /** What may be said, where it is not any text. */
  readonly json: JsonFormat | undefined;
}

/**
 * OpenAI's defaults filled in.
 * @param own what the route reads by itself
 * @throws ApiError 400 for combinations that make no sense
 */
export function parametersOf(body: CompletionBody | ChatBody, own: Pick<Parameters, 'topLogprobs' | 'json'>): Parameters {
  const stream = body.stream ?? false;
  if (!stream && body.stream_options != null) throw invalid("'stream_options' is only allowed when 'stream' is true.", 'stream_options', 'invalid_value');
  const stops = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  if (stops.includes('')) throw invalid("Invalid value for 'stop': a stop string can't be empty.", 'stop', 'invalid_value');
  return {
    n: body.n ?? 1,
    temperature: body.temperature ?? 1,
    topP: body.top_p ?? 1,
    seed: body.seed ?? randomInt(2 ** 32),
    stops,
    stream,
    includeUsage: body.stream_options?.include_usage ?? false,
    changes: { bias: biasOf(body.logit_bias ?? {}), frequencyPenalty: body.frequency_penalty ?? 0, presencePenalty: body.presence_penalty ?? 0 },
    ...own,
  };
}

/** Whether the vocabulary has the tokens is seen when the model is known. */
function biasOf(bias: Readonly<Record<string, number>>): ReadonlyMap<number, number> {
  return new Map(
    Object.entries(bias).map(([key, added]) => {
      if (!/^\d+$/.test(key)) throw invalid(`Invalid value for 'logit_bias': '${key}' is not a token id.`, 'logit_bias', 'invalid_value');
      return [Number(key), added];
    }),
  );
}

/** @throws ApiError 400 where `logit_bias` names a token that the vocabulary lacks */
export function checkBias({ changes }: Parameters, { tokenizer }: Pick<ServedModel, 'tokenizer'>): void {
  for (const id of changes.bias.keys()) {
    if (id >= tokenizer.vocabSize) throw invalid(`Invalid value for 'logit_bias': token ${id} is not in the vocabulary of ${tokenizer.vocabSize}.`, 'logit_bias', 'invalid_value');
  }
}

/**
 * How many tokens may follow a prompt.
 * @param asked undefined: `otherwise`, as far as there is room
 * @throws ApiError 400 `context_length_exceeded`
 */
export function tokenBudget(served: ServedModel, promptTokens: number, asked: number | undefined, otherwise: number, param: string): number {
  const context = served.contextLength;
  const room = context - promptTokens;
  if (room < 1) {
    throw invalid(`This model's maximum context length is ${context} tokens, and the prompt alone has ${promptTokens}.`, param, 'context_length_exceeded');
  }
  if (asked !== undefined && asked > room) {
    throw invalid(
      `This model's maximum context length is ${context} tokens. You asked for ${promptTokens + asked}: ${promptTokens} in the prompt and ${asked} in the completion.`,
      param,
      'context_length_exceeded',
    );
  }
  return asked ?? Math.min(otherwise, room);
}
