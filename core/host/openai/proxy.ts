/** Hands a request on to the process that serves its model, and the answer back as it comes. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ModelProcess, Serving } from '../models/model-process.ts';
import { ApiError, NO_RETRY } from './api-error.ts';

/** Headers of an answer that are the client's; the others are about the connection between the two processes. */
const HANDED_BACK = ['content-type', 'cache-control', 'retry-after', 'x-should-retry', 'x-accel-buffering'] as const;
/** How often a request is sent whose server has been replaced before it answered. */
const TRIES = 6;
/** Milliseconds before the second try; they double. */
const RETRY_MS = 20;

/**
 * Streams an answer through. A server that a swap replaces while the request is on its way is asked again; one that has begun to
 * answer is not, nor the next process where one has ended over the request: that may be why it did.
 * @param route the path; what the request line says beside it is no business of the other process
 * @param signal fires when the client has gone
 * @param patienceMs how long the model may take to be served
 * @throws ApiError 503 where the process ends before it answers
 */
export async function forward(process: ModelProcess, route: string, request: FastifyRequest, body: string, reply: FastifyReply, signal: AbortSignal, patienceMs: number): Promise<void> {
  let incoming: IncomingMessage | undefined;
  let askedPid: number | undefined;
  for (let tries = 1; incoming === undefined; tries++) {
    const serving = await process.serving(AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]));
    const { pid } = process;
    if (askedPid !== undefined && askedPid !== pid) throw new ApiError(503, `The process of the model ${process.id} ended over this request.`, 'server_error', null, 'model_process_ended', NO_RETRY);
    try {
      incoming = await send(serving, route, request, body, signal);
    } catch (error) {
      signal.throwIfAborted();
      if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') askedPid = pid;
      if (tries === TRIES) throw new ApiError(503, `The process of the model ${process.id} did not answer: ${(error as Error).message}.`, 'server_error', null, 'model_not_ready', { 'retry-after': '1' });
      await sleep(RETRY_MS * 2 ** (tries - 1));
    }
  }
  const status = incoming.statusCode ?? 502;
  reply.hijack();
  const headers = Object.fromEntries(HANDED_BACK.flatMap((name) => (incoming.headers[name] === undefined ? [] : [[name, incoming.headers[name]]])));
  reply.raw.writeHead(status, { ...headers, 'x-request-id': request.id }).flushHeaders();
  await pipe(incoming, reply, headers['content-type']?.toString().startsWith('text/event-stream') === true, process.id);
}

function send({ url, apiKey }: Serving, route: string, request: FastifyRequest, body: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const out = httpRequest(new URL(route, url), {
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
