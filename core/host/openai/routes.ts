/** OpenAI's API below `/v1`, as one part of the daemon's server with errors of its own form. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '../../contracts/index.ts';
import { reasonOf } from '../../kernel/errors.ts';
import type { InFlight } from '../in-flight.ts';
import type { Answered } from '../models/serving-metrics.ts';
import type { Access } from '../trust/access.ts';
import type { Scope } from '../trust/api-keys.ts';
import { ApiError, toApiError } from './api-error.ts';
import { fileRoutes, type FileOptions } from './files.ts';
import { fineTuningRoutes, type FineTuningOptions } from './fine-tuning.ts';
import { isUnread, refuseUnread } from './unread.ts';
import { INFERENCE_ROUTES, inferenceRoutes, type InferenceOptions } from './inference.ts';

/** What the routes stand on, beside who may use them. */
export interface OpenAiParts extends InferenceOptions, FileOptions {
  readonly log: Logger;
  readonly inFlight: InFlight;
  /** Is told of each request when its answer is complete, or its client gone. */
  answered(answered: Answered): void;
  readonly fineTuning: FineTuningOptions;
}

export interface OpenAiOptions extends OpenAiParts {
  readonly access: Access;
}

const UNKNOWN = '/v1/*';

/** What a key must be for at a route; what is not named here is for those who may do everything. */
function scopeOf(method: string, route: string): Scope | undefined {
  if (route === UNKNOWN) return undefined;
  if (route.startsWith('/v1/files') || route.startsWith('/v1/fine_tuning/')) return 'train';
  const asks = (INFERENCE_ROUTES as readonly string[]).includes(route) || (route.startsWith('/v1/models') && (method === 'GET' || method === 'HEAD'));
  return asks ? 'infer' : 'admin';
}

/** Tells of a request when its answer is complete, or its connection gone. */
function follow({ inFlight, answered, log }: OpenAiOptions, request: FastifyRequest, { raw }: FastifyReply): void {
  const began = performance.now();
  inFlight.begin();
  raw.once('close', () => {
    inFlight.end();
    const [route, ms] = [request.routeOptions.url ?? UNKNOWN, performance.now() - began];
    answered({ route, model: request.base, status: raw.statusCode, seconds: ms / 1000 });
    log.info(`${request.method} ${route} ${raw.statusCode}${raw.writableFinished ? '' : ', and the client went away'}`, { request: request.id, ...(request.base === '' ? {} : { model: request.base }), ms: Math.round(ms) });
  });
}

/** To be registered in a context of its own, so that its error handler is for these routes alone. */
export async function openAiRoutes(app: FastifyInstance, options: OpenAiOptions): Promise<void> {
  app.addHook('onRequest', async (request, reply) => {
    follow(options, request, reply);
    void reply.header('x-request-id', request.id);
    if (options.access.shareWithPages(request, reply)) return reply.status(204).send();
    options.access.require(request, scopeOf(request.method, request.routeOptions.url ?? ''));
  });
  app.decorateRequest('base', '');
  app.setErrorHandler((error: Error, request, reply) => {
    // Nobody is there to be told.
    if (reply.raw.destroyed || reply.raw.headersSent) return reply.hijack();
    const told = toApiError(error, request.id, (failure) => options.log.error(`Request ${request.id} failed: ${reasonOf(failure)}`, { request: request.id, stack: failure instanceof Error ? failure.stack : undefined }));
    return isUnread(request) ? refuseUnread(request, reply, told) : reply.status(told.status).headers(told.headers).send(told.body);
  });
  inferenceRoutes(app, options);
  await fileRoutes(app, options);
  fineTuningRoutes(app, options.fineTuning);
  app.all(UNKNOWN, (request) => {
    throw new ApiError(404, `Unknown request URL: ${request.method} ${request.url}.`, 'invalid_request_error', null, 'unknown_url');
  });
}
