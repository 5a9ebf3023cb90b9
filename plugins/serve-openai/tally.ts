/** What is counted of a request while it is answered; the host is told when it has ended. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RunEvent } from 'graft';

export interface Tally {
  readonly began: number;
  /** A model that is served; other names are the client's own, and as many as it likes. */
  model: string | undefined;
  promptTokens: number;
  completionTokens: number;
  firstTokenAt: number | undefined;
  /** The status of what went wrong after the head was sent. */
  failed: number | undefined;
}

/** What nginx calls a request whose client went away. */
const CLIENT_GONE = 499;

const requestToTally = new WeakMap<FastifyRequest, Tally>();

export function tallyOf(request: FastifyRequest): Tally {
  let tally = requestToTally.get(request);
  if (tally === undefined) requestToTally.set(request, (tally = { began: performance.now(), model: undefined, promptTokens: 0, completionTokens: 0, firstTokenAt: undefined, failed: undefined }));
  return tally;
}

/** Tells of a request once its connection is done with it, whole or not. */
export function tellOf(request: FastifyRequest, reply: FastifyReply, emit: (event: RunEvent) => void): void {
  const tally = tallyOf(request);
  reply.raw.once('close', () => {
    const seconds = (until: number): number => (until - tally.began) / 1000;
    emit({
      type: 'request',
      id: request.id,
      method: request.method,
      // The route's own pattern: metrics are counted by it.
      route: request.routeOptions.url ?? null,
      status: tally.failed ?? (reply.raw.writableFinished ? reply.raw.statusCode : CLIENT_GONE),
      model: tally.model ?? null,
      seconds: seconds(performance.now()),
      firstTokenSeconds: tally.firstTokenAt === undefined ? null : seconds(tally.firstTokenAt),
      promptTokens: tally.promptTokens,
      completionTokens: tally.completionTokens,
    });
  });
}
