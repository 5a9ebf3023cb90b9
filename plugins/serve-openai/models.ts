/** GET /v1/models and /v1/models/{id} */
import type { FastifyInstance } from 'fastify';
import type { ServedModelInfo } from 'graft';
import { noSuchModel } from './api-error.ts';
import type { ServerContext } from './context.ts';

const described = ({ id, created, parent }: ServedModelInfo): object => ({ id, object: 'model', created, owned_by: 'graft', ...(parent === undefined ? {} : { parent }) });

export function modelRoutes(app: FastifyInstance, { models }: ServerContext): void {
  app.get('/v1/models', () => ({ object: 'list', data: models.list().map(described) }));

  // A wildcard, since an id may have slashes; clients send them as %2F, people as they are.
  app.get<{ Params: { '*': string } }>('/v1/models/*', (request) => {
    const id = request.params['*'];
    const found = models.list().find((model) => model.id === id);
    if (found === undefined) throw noSuchModel(id, models.list().map((model) => model.id));
    return described(found);
  });
}
