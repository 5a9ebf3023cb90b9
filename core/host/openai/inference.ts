/** What is asked of models: completions, chat, embeddings; which there are; and vLLM's routes to load adapters. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Logger } from '../../contracts/index.ts';
import type { KnownModel, Models } from '../models/models.ts';
import { ApiError, invalid, noSuchModel } from './api-error.ts';
import { forward } from './proxy.ts';

/** Milliseconds that a request waits for a model that is still loading. */
const PATIENCE_MS = 120_000;
export const INFERENCE_ROUTES = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings'] as const;
export const INFERENCE_BODY_LIMIT = 8 * 2 ** 20;

declare module 'fastify' {
  interface FastifyRequest {
    /** The base that answers it; empty where none was asked. */
    base: string;
  }
}

export interface InferenceOptions {
  readonly models: Models;
  readonly log: Logger;
  /** Whether nothing more is taken. */
  draining(): boolean;
}

const loadBody = Type.Object(
  {
    lora_name: Type.String({ minLength: 1, maxLength: 500 }),
    lora_path: Type.String({ minLength: 1 }),
    base_model: Type.Optional(Type.String({ minLength: 1 })),
    load_inplace: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);
const unloadBody = Type.Object({ lora_name: Type.String({ minLength: 1 }), lora_int_id: Type.Optional(Type.Integer()) }, { additionalProperties: false });

export function inferenceRoutes(app: FastifyInstance, options: InferenceOptions): void {
  const { models } = options;
  for (const route of INFERENCE_ROUTES) app.post(route, { bodyLimit: INFERENCE_BODY_LIMIT }, (request, reply) => infer(options, route, request, reply));

  app.get('/v1/models', async () => ({ object: 'list', data: models.list().map(described) }));
  // A wildcard, since an id may have slashes; clients send them as %2F, people as they are.
  app.get<{ Params: { '*': string } }>('/v1/models/*', async ({ params }) => {
    const found = models.get(params['*']);
    if (found === undefined) throw noSuchModel(params['*']);
    return described(found);
  });
  app.delete<{ Params: { '*': string } }>('/v1/models/*', async ({ params }) => {
    const id = params['*'];
    if (models.bases.includes(id)) throw new ApiError(403, `The base model '${id}' can't be deleted.`, 'permission_error', 'model');
    if (!models.unload(id)) throw noSuchModel(id);
    return { id, object: 'model', deleted: true };
  });

  app.post<{ Body: { lora_name: string; lora_path: string; base_model?: string; load_inplace?: boolean } }>('/v1/load_lora_adapter', { schema: { body: loadBody } }, async ({ body }, reply) => {
    await models.load(body.lora_name, body.lora_path, { base: body.base_model, replace: body.load_inplace ?? false, signal: AbortSignal.any([AbortSignal.timeout(PATIENCE_MS), goneSignal(reply)]) });
    return reply.type('text/plain').send(`Success: LoRA adapter '${body.lora_name}' added successfully.`);
  });
  app.post<{ Body: { lora_name: string } }>('/v1/unload_lora_adapter', { schema: { body: unloadBody } }, async ({ body }, reply) => {
    if (!models.unload(body.lora_name)) throw new ApiError(404, `The lora adapter '${body.lora_name}' cannot be found.`, 'invalid_request_error', 'lora_name', 'adapter_not_found');
    return reply.type('text/plain').send(`Success: LoRA adapter '${body.lora_name}' removed successfully.`);
  });
}

const described = ({ id, created, parent }: KnownModel): object => ({ id, object: 'model', created, owned_by: 'graft', ...(parent === undefined ? {} : { parent }) });

/** The body goes on as it came: what is in it is the serve plugin's to judge. */
async function infer({ models, draining }: InferenceOptions, route: string, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const body = request.body as { readonly model?: unknown } | undefined;
  if (typeof body !== 'object' || body === null) throw invalid('The request body must be a JSON object.');
  if (typeof body.model !== 'string') throw invalid("Missing required parameter: 'model'.", 'model', 'missing_required_parameter');
  if (draining()) throw new ApiError(503, 'The daemon is ending.', 'server_error', null, 'shutting_down', { 'retry-after': '5' });
  const process = models.processOf(body.model);
  if (process === undefined) throw noSuchModel(body.model);
  request.base = process.id;
  await forward(process, route, request, JSON.stringify(body), reply, goneSignal(reply), PATIENCE_MS);
  return reply;
}

/** Fires when the connection closes before the answer is complete. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort(new Error('The client closed the connection.'));
  });
  return controller.signal;
}
