/** The daemon's HTTP server: what it takes from the other end of a connection, before any route is asked. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { fastify, type FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';

/** Bytes of a body where a route says nothing else. */
const BODY_LIMIT = 1024 * 1024;
const HEADER_BYTES = 16 * 1024;
const HEADER_COUNT = 100;
/** Requests after which a connection is ended, so that none is held for good. */
const REQUESTS_PER_CONNECTION = 100_000;
/** Milliseconds between two looks for connections that are too slow, at most. */
const LOOK_MS = 5000;

/** The config's `http:`. */
export const httpSchema = Type.Object(
  {
    allowed_hosts: Type.Array(Type.String({ minLength: 1, graftPath: false }), { default: [], description: 'Names that requests may be sent to beside this machine\'s own, such as a proxy\'s; asked for while there are no API keys.' }),
    allowed_origins: Type.Array(Type.String({ minLength: 1, graftPath: false }), { default: [], description: 'Sites whose pages may ask, such as `https://chat.example`, beside those of this machine.' }),
    headers_seconds: Type.Number({ exclusiveMinimum: 0, default: 20, description: 'How long the headers of a request may take to arrive.' }),
    request_seconds: Type.Number({ exclusiveMinimum: 0, default: 60, description: 'How long a whole request may take to arrive, except for an upload.' }),
    upload_seconds: Type.Number({ exclusiveMinimum: 0, default: 3600, description: 'How long an uploaded file may take to arrive.' }),
    connections: Type.Integer({ minimum: 1, default: 4096, description: 'Connections at once; one more is closed.' }),
  },
  { default: {}, additionalProperties: false, description: 'What the server takes from whoever connects.' },
);
export type HttpConfig = Static<typeof httpSchema>;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether requests to the route may take as long as an upload. */
    readonly upload?: boolean;
  }
}

/** A server without routes. Whoever sends too slowly, too much or no HTTP is cut off, and others don't notice. */
export function openHttp({ headers_seconds, request_seconds, upload_seconds, connections }: HttpConfig): FastifyInstance {
  const requestMs = Math.ceil(request_seconds * 1000);
  const wholeMs = Math.max(requestMs, Math.ceil(upload_seconds * 1000));
  const headersMs = Math.min(Math.ceil(headers_seconds * 1000), wholeMs);
  const app = fastify({
    logger: false,
    genReqId: newRequestId,
    bodyLimit: BODY_LIMIT,
    requestTimeout: wholeMs,
    maxRequestsPerSocket: REQUESTS_PER_CONNECTION,
    forceCloseConnections: true,
    http: { maxHeaderSize: HEADER_BYTES, headersTimeout: headersMs, requestTimeout: wholeMs, connectionsCheckingInterval: Math.min(LOOK_MS, headersMs) },
    clientErrorHandler: (error: NodeJS.ErrnoException, socket: Socket) => refuse(error, socket),
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, strict: false } },
  });
  app.server.maxConnections = connections;
  app.server.maxHeadersCount = HEADER_COUNT;
  app.addHook('onRequest', (request, reply, done) => {
    if (request.routeOptions.config.upload !== true) limitBody(request.raw, reply.raw, requestMs);
    done();
  });
  return app;
}

/** Cuts a request off whose body does not arrive in time. Node's own limit is the longer one of uploads. */
function limitBody(request: IncomingMessage, response: ServerResponse, ms: number): void {
  if (request.headers['transfer-encoding'] === undefined && Number(request.headers['content-length'] ?? 0) === 0) return;
  const timer = setTimeout(() => {
    if (!request.complete) refuse({ code: 'ERR_HTTP_REQUEST_TIMEOUT' }, request.socket);
  }, ms);
  const arrived = (): void => clearTimeout(timer);
  request.once('end', arrived).once('close', arrived);
  response.once('close', arrived);
}

function newRequestId(): string {
  return `req_${randomUUID().replaceAll('-', '')}`;
}

const REFUSALS: Readonly<Record<string, readonly [status: string, message: string, code: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'The request did not arrive in time.', 'request_timeout'],
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', `The headers of a request may have ${HEADER_BYTES} bytes together.`, 'headers_too_large'],
};

/** What can't be read as a request is answered in the form of an answer, as far as the connection still takes one. */
function refuse({ code = '' }: Pick<NodeJS.ErrnoException, 'code'>, socket: Socket): void {
  if (code === 'ECONNRESET' || socket.destroyed) return void socket.destroy();
  const [status, message, name] = REFUSALS[code] ?? ['400 Bad Request', 'This is not a request that can be read.', 'bad_request'];
  const body = JSON.stringify({ error: { message, type: 'invalid_request_error', param: null, code: name } });
  const head = [`HTTP/1.1 ${status}`, 'content-type: application/json', `content-length: ${Buffer.byteLength(body)}`, `x-request-id: ${newRequestId()}`, 'connection: close'];
  if (socket.writable) socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  socket.destroySoon();
}
