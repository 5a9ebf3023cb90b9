/** What completions and chat have in common: how to sample, when to stop, how long. */
import { randomInt } from 'node:crypto';
import type { ServedModel } from 'graft';
import { invalid } from './api-error.ts';
import type { ChatBody, CompletionBody } from './body.ts';

export interface Parameters {
  readonly n: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly stops: readonly string[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

/**
 * OpenAI's defaults filled in.
 * @throws ApiError 400 for combinations that make no sense
 */
export function parametersOf(body: CompletionBody | ChatBody): Parameters {
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
  };
}

/**
 * How many tokens may follow a prompt.
 * @param asked undefined: `otherwise`, as far as there is room
 * @throws ApiError 400 `context_length_exceeded`
 */
export function tokenBudget(served: ServedModel, promptTokens: number, asked: number | undefined, otherwise: number, param: string): number {
  const context = served.model.config.max_position_embeddings;
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
