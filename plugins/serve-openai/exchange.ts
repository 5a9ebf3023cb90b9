/** One request being answered: its model held, its turn taken, its client watched. */
import { randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { GraftError, reasonOf, type ServedModel } from 'graft';
import { adapterBroken, ApiError, invalid, noSuchModel, notFinite } from './api-error.ts';
import type { AnsweredToken, AnswerPart, FinishReason } from './answer.ts';
import { Collected, generateChoices, type Ask, type Choice, type Work } from './choices.ts';
import { EventStream } from './event-stream.ts';
import { TooLarge } from './json/automaton.ts';
import { Outbox } from './outbox.ts';
import type { Parameters } from './parameters.ts';
import type { ServerContext } from './context.ts';
import { tallyOf } from './tally.ts';
import { UsageCount } from './usage.ts';

/** How a route writes its answers: whole, and piece by piece. */
export interface Shape {
  readonly continues: boolean;
  whole(head: Head, choices: readonly Choice[]): object;
  /** A first chunk before any text, where the format has one. */
  opening?(head: Head, index: number): object;
  piece(head: Head, index: number, text: string, tokens: readonly AnsweredToken[]): object;
  ending(head: Head, index: number, finishReason: FinishReason): object;
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
  // A streamed answer is sent after its place and its model are free again: how fast a client reads is its own matter.
  const sent = await held(context, request, modelId, signal, async (served) => {
    const asks = prepare(served);
    const head = { id: `${idPrefix}-${randomUUID().replaceAll('-', '')}`, created: Math.floor(Date.now() / 1000), model: modelId, system_fingerprint: `fp_${served.fingerprint}` };
    const work = { served, asks, parameters, continues: shape.continues, signal };
    const tally = tallyOf(request);
    const counted = new UsageCount(asks, parameters.n);
    tally.promptTokens = counted.promptTokens;
    const count = (index: number, part: AnswerPart): void => {
      tally.firstTokenAt ??= performance.now();
      counted.add(index, part);
      tally.completionTokens = counted.completionTokens;
    };
    return await (parameters.stream ? streamed(context, request, reply, head, shape, work, counted, count) : whole(head, shape, work, counted, count));
  });
  if ('body' in sent) await reply.send(sent.body);
  else await sent.sending;
}

/** Takes a turn, and holds a model while something is done with it: who waits in line keeps no adapter in memory. */
export async function held<T>(context: ServerContext, request: FastifyRequest, modelId: string, signal: AbortSignal, act: (served: ServedModel) => Promise<T>): Promise<T> {
  const leave = await context.gate.enter(signal);
  try {
    const served = await context.models.acquire(modelId, signal);
    if (served === undefined) throw noSuchModel(modelId, context.models.list().map((model) => model.id));
    tallyOf(request).model = modelId;
    try {
      return await act(served);
    } finally {
      served.release();
    }
  } finally {
    leave();
  }
}

type Count = (index: number, part: AnswerPart) => void;

async function whole(head: Head, shape: Shape, work: Work, counted: UsageCount, count: Count): Promise<{ readonly body: object }> {
  const collected = new Collected();
  await generateChoices(work, (index, part) => {
    count(index, part);
    collected.add(index, part);
  });
  return { body: { ...shape.whole(head, collected.choices), usage: counted.usage } };
}

/** @returns when all is generated, with the promise that all is sent */
async function streamed(context: ServerContext, request: FastifyRequest, reply: FastifyReply, head: Head, shape: Shape, work: Work, counted: UsageCount, count: Count): Promise<{ readonly sending: Promise<void> }> {
  const outbox = new Outbox();
  const sending = send(context, request, reply, head, shape, work, outbox, counted);
  // Waited for when the place is free again; till then its failure is nobody's.
  sending.catch(() => undefined);
  try {
    await generateChoices(work, (index, part) => {
      count(index, part);
      outbox.add(index, part);
    });
    outbox.close('whole');
  } catch (error) {
    outbox.close({ error });
  }
  return { sending };
}

/** @throws what fails before the first piece: the head is not sent yet, so that it can have a status of its own */
async function send(context: ServerContext, request: FastifyRequest, reply: FastifyReply, head: Head, shape: Shape, { signal, parameters }: Work, outbox: Outbox, counted: UsageCount): Promise<void> {
  const parcels = outbox.parcels();
  let next = await parcels.next();
  reply.hijack();
  const stream = new EventStream(reply.raw, { 'x-request-id': request.id });
  // With usage asked for, every other chunk says that it has none, as OpenAI's do.
  const write = (chunk: object): Promise<void> => stream.send(parameters.includeUsage ? { ...chunk, usage: null } : chunk, signal);
  const opened = new Set<number>();
  try {
    for (; !next.done; next = await parcels.next()) {
      const { index, text, tokens, finishReason } = next.value;
      if (!opened.has(index) && shape.opening !== undefined) await write(shape.opening(head, index));
      opened.add(index);
      if (text !== '' || tokens.length > 0) await write(shape.piece(head, index, text, tokens));
      if (finishReason !== undefined) await write(shape.ending(head, index, finishReason));
    }
    if (parameters.includeUsage) await stream.send({ ...shape.counting(head), usage: counted.usage }, signal);
    stream.done();
  } catch (error) {
    if (reply.raw.destroyed) return;
    const told = toApiError(error, context, request.id);
    tallyOf(request).failed = told.status;
    stream.fail(told.body);
  }
}

/** Fires when the connection closes before the answer is complete. */
export function clientGone(reply: FastifyReply): AbortSignal {
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
  if (context.signal.aborted) return new ApiError(503, 'The server is shutting down.', 'server_error', null, 'shutting_down', { 'retry-after': '1' });
  if (error instanceof TooLarge) return invalid("The schema of 'response_format' can be read in too many ways at once: let the alternatives of its 'anyOf' begin differently.", 'response_format', 'unsupported_schema');
  const expected = GraftError.is(error) ? ofGraft(error) : undefined;
  if (expected !== undefined) return expected;
  context.log.error(`Request ${requestId} failed: ${reasonOf(error)}`, GraftError.is(error) ? { code: error.code } : { stack: error instanceof Error ? error.stack : undefined });
  return new ApiError(500, `The server failed to answer request ${requestId}; its log says why.`, 'server_error', null, 'internal_error');
}

/** Failures of the model that a client can do something about, or that a retry can't help. */
function ofGraft(error: GraftError): ApiError | undefined {
  switch (error.code) {
    case 'ADAPTER_BROKEN':
      return adapterBroken(error.hint === undefined ? error.message : `${error.message} ${error.hint}`);
    case 'CONTEXT_LENGTH':
      return invalid(error.message, null, 'context_length_exceeded');
    case 'CONSTRAINT_EMPTY':
      return invalid("The model's vocabulary has no token that goes on with the text as 'response_format' asks.", 'response_format', 'constraint_empty');
    case 'LOGITS_NOT_FINITE':
      return notFinite(error.message);
    default:
      return undefined;
  }
}
