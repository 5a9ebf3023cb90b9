/** `/graft/v1/keys`: API keys are made and ended by whoever may do everything. */
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import { keyRequest, type ApiKeys } from './trust/api-keys.ts';

export function keyRoutes(app: FastifyInstance, keys: ApiKeys): void {
  app.get('/graft/v1/keys', async () => ({ keys: keys.list() }));
  app.post<{ Body: Static<typeof keyRequest> }>('/graft/v1/keys', { schema: { body: keyRequest } }, async ({ body }) => keys.add(body.name, body.scopes));
  app.delete<{ Params: { readonly name: string } }>('/graft/v1/keys/:name', async ({ params }) => {
    keys.revoke(params.name);
    return { revoked: params.name };
  });
}
