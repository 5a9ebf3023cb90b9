/** Answers to requests that are refused before they have arrived. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ApiError } from './api-error.ts';

/** Milliseconds that what is left of a refused request is read, and thrown away. */
const LINGER_MS = 5000;

/** Whether the rest of a request is still on its way. */
export function isUnread({ raw: { complete, destroyed, headers } }: FastifyRequest): boolean {
  return !complete && !destroyed && (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0);
}

/**
 * Sends an error, and reads on for a moment: a connection that is closed while its other end still sends takes the answer with it.
 * Clients stop when they see the answer; one that does not is cut off.
 */
export function refuseUnread(request: FastifyRequest, reply: FastifyReply, { status, headers, body }: ApiError): FastifyReply {
  const { raw } = reply.hijack();
  const text = JSON.stringify(body);
  raw.writeHead(status, { ...headers, 'x-request-id': request.id, 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(text), connection: 'close' });
  // Complete by its length; `end` would close the connection.
  raw.write(text);
  const cut = setTimeout(() => raw.destroy(), LINGER_MS);
  raw.once('close', () => clearTimeout(cut));
  request.raw.unpipe().on('error', () => raw.destroy()).once('end', () => raw.end()).resume();
  return reply;
}
