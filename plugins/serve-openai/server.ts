/** The HTTP server: who may ask, how failures are told, when it stops. */
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { fastify, type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { GraftError, reasonOf, type RunningServer, type ServeCall } from 'graft';
import { ApiError, invalid, wrongKey } from './api-error.ts';
import { bodyError, type SchemaComplaint } from './body.ts';
import { chatRoute } from './chat.ts';
import { completionRoute } from './completions.ts';
import type { ServerContext } from './context.ts';
import { embeddingRoute } from './embeddings.ts';
import { ClientGone, toApiError } from './exchange.ts';
import { Gate } from './gate.ts';
import { modelRoutes } from './models.ts';
import { requireProtection, type ServeOptions } from './options.ts';
import { tellOf } from './tally.ts';

/** How long a server that closes waits for the request of a connection that has sent none yet. */
const UNUSED_MS = 500;

/**
 * Listens until closed.
 * @throws GraftError `SERVE_UNPROTECTED`, `PORT_IN_USE`, `SERVE_LISTEN`, each with the option at fault
 */
export async function startServer({ config, models, log, signal, scope, emit }: ServeCall<ServeOptions>): Promise<RunningServer> {
  requireProtection(config);
  const [stopping, draining] = [new AbortController(), new AbortController()];
  const context: ServerContext = {
    models,
    options: config,
    log,
    emit,
    gate: new Gate({ concurrent: config.max_concurrent, queue: config.max_queue }),
    signal: AbortSignal.any([signal, stopping.signal]),
  };
  const app = application(context, draining.signal);
  const url = await listen(app, config);
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    draining.abort();
    return (closed ??= app.close());
  };
  scope.own(`http server ${url}`, async () => {
    stopping.abort(new Error('The server is stopping.'));
    await close();
  });
  return { url, close };
}

const REQUEST_ID = /^req_[0-9a-f]{32}$/;

/** @param draining fires when the server begins to close */
function application(context: ServerContext, draining: AbortSignal): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: 8 * 1024 * 1024,
    forceCloseConnections: 'idle',
    // A request that has arrived is answered, also while the server closes.
    return503OnClosing: false,
    // The host's, where it hands the request on: one name in its answer, here and in both logs.
    genReqId: ({ headers }) => (typeof headers['x-request-id'] === 'string' && REQUEST_ID.test(headers['x-request-id']) ? headers['x-request-id'] : `req_${randomUUID().replaceAll('-', '')}`),
    // An address that can't be decoded gets past no hook.
    frameworkErrors: (error, request, reply) => {
      const told = ofFastify(error) ?? toApiError(error, context, request.id);
      void (reply as FastifyReply).status(told.status).headers({ ...told.allHeaders, 'x-request-id': request.id }).send(told.body);
    },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: true, strict: false } },
    schemaErrorFormatter: (errors) => bodyError(errors as unknown as readonly SchemaComplaint[]),
  });
  app.removeContentTypeParser('text/plain');
  // Clients open connections ahead, which node takes for busy and would wait for.
  const unused = new Set<Socket>();
  app.server.on('connection', (socket) => {
    unused.add(socket);
    socket.once('close', () => unused.delete(socket));
  });
  draining.addEventListener('abort', () => {
    // Stop listening at once: whoever takes over the port need not wait for the answers in flight.
    app.server.close();
    setTimeout(() => unused.forEach((socket) => socket.destroy()), UNUSED_MS).unref();
  });
  app.addHook('onRequest', async (request, reply) => {
    unused.delete(request.raw.socket);
    // A connection whose answer is complete would otherwise be kept alive for a next request.
    reply.raw.once('finish', () => draining.aborted && setImmediate(() => app.server.closeIdleConnections()));
    void reply.header('x-request-id', request.id);
    tellOf(request, reply, context.emit);
    if (context.options.api_key !== undefined) requireKey(request, context.options.api_key);
  });
  app.setNotFoundHandler((request) => {
    throw new ApiError(404, `Unknown request URL: ${request.method} ${request.url}.`, 'invalid_request_error', null, 'unknown_url');
  });
  app.setErrorHandler((error: FastifyError | Error, request, reply) => {
    if (error instanceof ClientGone || reply.raw.destroyed) return reply.hijack();
    const told = ofFastify(error) ?? toApiError(error, context, request.id);
    return reply.status(told.status).headers(told.allHeaders).send(told.body);
  });
  modelRoutes(app, context);
  completionRoute(app, context);
  chatRoute(app, context);
  embeddingRoute(app, context);
  return app;
}

/** What fastify itself refuses before a route runs. */
function ofFastify(error: FastifyError | Error): ApiError | undefined {
  if (!('code' in error) || typeof error.code !== 'string') return undefined;
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return invalid('The request body is not valid JSON.', null, 'invalid_json');
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ApiError(415, 'The request body must be JSON: send the header content-type: application/json.', 'invalid_request_error');
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ApiError(413, 'The request body is larger than 8 MiB.', 'invalid_request_error', null, 'body_too_large');
    case 'FST_ERR_BAD_URL':
      return invalid('The request URL is not valid: a percent sign begins no escape in it.', null, 'invalid_url');
    default:
      return undefined;
  }
}

function requireKey(request: FastifyRequest, key: string): void {
  const given = /^Bearer\s+(.+)$/i.exec(request.headers.authorization ?? '')?.[1];
  // Hashes have one length, so that the comparison tells nothing about the key's.
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (given === undefined || !timingSafeEqual(digest(given), digest(key))) throw wrongKey(given !== undefined);
}

async function listen(app: FastifyInstance, { host, port }: ServeOptions): Promise<string> {
  try {
    const url = await app.listen({ host, port });
    return url;
  } catch (error) {
    await app.close();
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') {
      throw new GraftError('PORT_IN_USE', `Port ${port} on ${host} is in use by another program.`, { option: ['port'], hint: 'Choose another port, or 0 for any that is free.', cause: error });
    }
    throw new GraftError('SERVE_LISTEN', `The server can't listen on ${host}:${port}: ${reasonOf(error)}.`, { option: ['host'], cause: error });
  }
}
