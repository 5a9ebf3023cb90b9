/** OpenAI's API below `/v1`, as one part of the daemon's server with errors of its own form. */
import type { FastifyInstance } from 'fastify';
import type { Logger } from '../../contracts/index.ts';
import { reasonOf } from '../../kernel/errors.ts';
import { ApiError, toApiError } from './api-error.ts';
import { fileRoutes, type FileOptions } from './files.ts';
import { fineTuningRoutes, type FineTuningOptions } from './fine-tuning.ts';
import { inferenceRoutes, type InferenceOptions } from './inference.ts';

export interface OpenAiOptions extends InferenceOptions, FileOptions {
  readonly log: Logger;
  readonly fineTuning: FineTuningOptions;
}

/** To be registered in a context of its own, so that its error handler is for these routes alone. */
export async function openAiRoutes(app: FastifyInstance, options: OpenAiOptions): Promise<void> {
  app.addHook('onRequest', async (request, reply) => {
    void reply.header('x-request-id', request.id);
  });
  app.setErrorHandler((error: Error, request, reply) => {
    // Nobody is there to be told.
    if (reply.raw.destroyed || reply.raw.headersSent) return reply.hijack();
    const told = toApiError(error, request.id, (failure) => options.log.error(`Request ${request.id} failed: ${reasonOf(failure)}`, { request: request.id, stack: failure instanceof Error ? failure.stack : undefined }));
    return reply.status(told.status).headers(told.headers).send(told.body);
  });
  inferenceRoutes(app, options);
  await fileRoutes(app, options);
  fineTuningRoutes(app, options.fineTuning);
  app.all('/v1/*', (request) => {
    throw new ApiError(404, `Unknown request URL: ${request.method} ${request.url}.`, 'invalid_request_error', null, 'unknown_url');
  });
}
