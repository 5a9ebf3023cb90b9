/** One request being answered: its model held, its turn taken, its client watched. */
import { randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { GraftError, reasonOf, type ServedModel } from 'graft';
import { ApiError, noSuchModel } from './api-error.ts';
import { answer, type AnsweredToken, type AnswerPart } from './answer.ts';
import { EventStream } from './event-stream.ts';
import type { Parameters } from './parameters.ts';
import type { ServerContext } from './context.ts';

/** One prompt of a request and how its answer is counted. */
export interface Ask {
  readonly prompt: Int32Array;
  readonly maxTokens: number;
}

/** A whole answer. */
export interface Choice {
  readonly index: number;
  readonly text: string;
  readonly tokens: readonly AnsweredToken[];
  readonly finishReason: 'stop' | 'length';
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** How a route writes its answers: whole, and piece by piece. */
export interface Shape {
  readonly continues: boolean;
  whole(head: Head, choices: readonly Choice[]): object;
  /** A first chunk before any text, where the format has one. */
  opening?(head: Head, index: number): object;
  piece(head: Head, index: number, text: string, tokens: readonly AnsweredToken[]): object;
  ending(head: Head, index: number, finishReason: 'stop' | 'length'): object;
  /** The chunk without choices that carries the usage. */
  counting(head: Head): object;
}

/** What every chunk of one answer repeats. */
export interface Head {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly system_fingerprint: string;
}

/**
 * Answers one request: takes its turn, generates every choice, and writes them whole or as they come.
 * @param prepare checks the request against the model and makes its prompts; what it throws is answered before any text
 */
export async function exchange(
  context: ServerContext,
  request: FastifyRequest,
  reply: FastifyReply,
  parameters: Parameters,
  modelId: string,
  idPrefix: string,
  shape: Shape,
  prepare: (served: ServedModel) => readonly Ask[],
): Promise<void> {
  const signal = AbortSignal.any([context.signal, clientGone(reply)]);
  const served = await context.models.acquire(modelId, signal);
  if (served === undefined) throw noSuchModel(modelId, context.models.list().map((model) => model.id));
  try {
    const asks = prepare(served);
    const leave = await context.gate.enter(signal);
    try {
      const head = { id: `${idPrefix}-${randomUUID().replaceAll('-', '')}`, created: Math.floor(Date.now() / 1000), model: modelId, system_fingerprint: `fp_${served.fingerprint}` };
      const work = { served, asks, parameters, continues: shape.continues, signal };
      if (parameters.stream) await streamed(context, request, reply, head, shape, work);
      else await reply.send(await whole(head, shape, work));
    } finally {
      leave();
    }
  } finally {
    served.release();
  }
}

interface Work {
  readonly served: ServedModel;
  readonly asks: readonly Ask[];
  readonly parameters: Parameters;
  readonly continues: boolean;
  readonly signal: AbortSignal;
}

/** Each choice's index with its parts, one choice after the other; choice i of a prompt has the seed plus i. */
async function* partsOf({ served, asks, parameters, continues, signal }: Work): AsyncGenerator<{ readonly index: number; readonly part: AnswerPart }> {
  const { n, temperature, topP, seed, stops } = parameters;
  for (const [place, { prompt, maxTokens }] of asks.entries()) {
    for (let i = 0; i < n; i++) {
      const parts = answer({ served, prompt, maxTokens, temperature, topP, seed: (seed + i) >>> 0, stops, continues, signal });
      for await (const part of parts) yield { index: place * n + i, part };
    }
  }
}

function usageOf(asks: readonly Ask[], completionTokens: number): Usage {
  const promptTokens = asks.reduce((sum, { prompt }) => sum + prompt.length, 0);
  return { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: promptTokens + completionTokens };
}

async function whole(head: Head, shape: Shape, work: Work): Promise<object> {
  const choices: Choice[] = [];
  let completionTokens = 0;
  let text = '';
  let tokens: AnsweredToken[] = [];
  for await (const { index, part } of partsOf(work)) {
    if (part.type === 'text') {
      text += part.text;
      tokens.push(...part.tokens);
      continue;
    }
    completionTokens += part.completionTokens;
    choices.push({ index, text, tokens, finishReason: part.finishReason });
    text = '';
    tokens = [];
  }
  return { ...shape.whole(head, choices), usage: usageOf(work.asks, completionTokens) };
}

async function streamed(context: ServerContext, request: FastifyRequest, reply: FastifyReply, head: Head, shape: Shape, work: Work): Promise<void> {
  const { signal, parameters } = work;
  reply.hijack();
  const stream = new EventStream(reply.raw, { 'x-request-id': request.id });
  // With usage asked for, every other chunk says that it has none, as OpenAI's do.
  const send = (chunk: object): Promise<void> => stream.send(parameters.includeUsage ? { ...chunk, usage: null } : chunk, signal);
  try {
    let completionTokens = 0;
    let opened = -1;
    for await (const { index, part } of partsOf(work)) {
      if (index !== opened && shape.opening !== undefined) await send(shape.opening(head, index));
      opened = index;
      if (part.type === 'text') {
        await send(shape.piece(head, index, part.text, part.tokens));
      } else {
        completionTokens += part.completionTokens;
        await send(shape.ending(head, index, part.finishReason));
      }
    }
    if (parameters.includeUsage) await stream.send({ ...shape.counting(head), usage: usageOf(work.asks, completionTokens) }, signal);
    stream.done();
  } catch (error) {
    if (reply.raw.destroyed) return;
    stream.fail(toApiError(error, context, request.id).body);
  }
}

/** Fires when the connection closes before the answer is complete. */
function clientGone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort(new ClientGone());
  });
  return controller.signal;
}

/** Why a generation was cancelled; nobody is there to be told. */
export class ClientGone extends Error {
  override readonly name = 'ClientGone';
  override readonly message = 'The client closed the connection.';
}

/** What a client is told of anything that was thrown; our own failures are logged and kept general. */
export function toApiError(error: unknown, context: Pick<ServerContext, 'log' | 'signal'>, requestId: string): ApiError {
  if (error instanceof ApiError) return error;
  if (context.signal.aborted) return new ApiError(503, 'The server is shutting down.', 'server_error', null, 'shutting_down');
  context.log.error(`Request ${requestId} failed: ${reasonOf(error)}`, GraftError.is(error) ? { code: error.code } : { stack: error instanceof Error ? error.stack : undefined });
  return new ApiError(500, `The server failed to answer request ${requestId}; its log says why.`, 'server_error', null, 'internal_error');
}
