/** Hands a request on to the process that serves its model, and the answer back as it comes. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ModelProcess, Serving } from '../models/model-process.ts';
import { ApiError } from './api-error.ts';

/** Headers of an answer that are the client's; the others are about the connection between the two processes. */
const HANDED_BACK = ['content-type', 'cache-control', 'retry-after', 'x-should-retry', 'x-accel-buffering'] as const;
/** How often a request is sent again whose process has been replaced before it answered. */
const TRIES = 6;
/** Milliseconds before the second try; they double. */
const RETRY_MS = 20;

export interface Forwarded {
  readonly status: number;
  /** Seconds until the answer began, and until it was complete. */
  readonly firstByteSeconds: number;
  readonly seconds: number;
}

/**
 * Streams an answer through. A server that a swap replaces while the request is on its way is asked again; one that has begun to
 * answer is not.
 * @param signal fires when the client has gone
 * @throws ApiError 503 where the process ends before it answers
 */
export async function forward(process: ModelProcess, request: FastifyRequest, body: string, reply: FastifyReply, signal: AbortSignal): Promise<Forwarded> {
  const began = performance.now();
  let incoming: IncomingMessage | undefined;
  for (let tries = 1; incoming === undefined; tries++) {
    const serving = await process.serving(signal);
    try {
      incoming = await send(serving, request, body, signal);
    } catch (error) {
      signal.throwIfAborted();
      await sleep(RETRY_MS * 2 ** (tries - 1));
      if (tries === TRIES) throw new ApiError(503, `The process of the model ${process.id} ended before it answered: ${(error as Error).message}.`, 'server_error', null, 'model_not_ready', { 'retry-after': '1' });
    }
  }
  const firstByteSeconds = (performance.now() - began) / 1000;
  const status = incoming.statusCode ?? 502;
  reply.hijack();
  const headers = Object.fromEntries(HANDED_BACK.flatMap((name) => (incoming.headers[name] === undefined ? [] : [[name, incoming.headers[name]]])));
  reply.raw.writeHead(status, { ...headers, 'x-request-id': request.id }).flushHeaders();
  await pipe(incoming, reply, headers['content-type']?.toString().startsWith('text/event-stream') === true, process.id);
  return { status, firstByteSeconds, seconds: (performance.now() - began) / 1000 };
}

function send({ url, apiKey }: Serving, request: FastifyRequest, body: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const out = httpRequest(new URL(request.url, url), {
      method: request.method,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), authorization: `Bearer ${apiKey}`, 'x-request-id': request.id },
      agent: false,
      signal,
    });
    out.on('response', resolve).on('error', reject);
    out.end(body);
  });
}

/** Writes no faster than the client reads. An answer that breaks off is told as what it is: an error in a stream, a broken connection else. */
async function pipe(incoming: IncomingMessage, reply: FastifyReply, isStream: boolean, model: string): Promise<void> {
  const { raw } = reply;
  try {
    for await (const chunk of incoming) {
      if (raw.destroyed) return void incoming.destroy();
      if (!raw.write(chunk)) await new Promise<void>((resolve) => void raw.once('drain', resolve).once('close', resolve));
    }
    raw.end();
  } catch {
    if (raw.destroyed) return;
    if (!isStream) return void raw.destroy();
    const { body } = new ApiError(503, `The process of the model ${model} ended while it answered.`, 'server_error', null, 'model_not_ready');
    raw.end(`data: ${JSON.stringify(body)}\n\n`);
  }
}
