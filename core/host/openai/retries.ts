/** Requests that a client sends again because it did not see the answer: what they make is made once. */
import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';

/** Milliseconds within which a client tries again. */
export const RETRY_WINDOW_MS = 10 * 60_000;

/** Whether the client says that it has sent this before, as OpenAI's own do. */
export function isRetry({ headers }: Pick<FastifyRequest, 'headers'>): boolean {
  return Number(headers['x-stainless-retry-count'] ?? 0) > 0;
}

/** A client's own name for what it creates. */
export function idempotencyKey({ headers }: Pick<FastifyRequest, 'headers'>): string | undefined {
  const key = headers['idempotency-key'];
  return typeof key === 'string' && key !== '' ? key : undefined;
}

/** The same for equal bodies. Hex. */
export function bodyHash(body: unknown): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex');
}
