/** What the daemon's commands ask of it over HTTP, below `/graft/v1`. OpenAI's routes are the serve plugins'. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { isAbsolute } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { Job, JobState } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import type { Daemon } from './daemon.ts';
import { lacksSpace } from './full-disk.ts';
import { openHttp, type HttpConfig } from './http.ts';
import { depthOf } from './json-depth.ts';
import { keyRoutes } from './key-routes.ts';
import { openAiRoutes } from './openai/routes.ts';
import { JOB_ACTIONS, type JobAction } from './job-action.ts';
import type { Submission } from './submissions.ts';
import type { Access } from './trust/access.ts';
import type { SwapRequest } from './swaps.ts';

/** Milliseconds between two looks at the state of a job that is followed and tells nothing. */
const FOLLOW_MS = 2000;
const EVENTS_AT_ONCE = 500;
/** Milliseconds without an event after which an empty line says that the connection lives. */
const QUIET_MS = 15_000;
/** Lists and objects within each other in a request. */
const MOST_DEPTH = 100;

const submission = Type.Object(
  {
    config: Type.String({ minLength: 1 }),
    set: Type.Optional(Type.Array(Type.String())),
    priority: Type.Optional(Type.Number()),
    max_attempts: Type.Optional(Type.Integer({ minimum: 1 })),
    resources: Type.Optional(
      Type.Object(
        { cpu: Type.Optional(Type.Number({ exclusiveMinimum: 0 })), memory_mb: Type.Optional(Type.Number({ exclusiveMinimum: 0 })), gpu_memory_mb: Type.Optional(Type.Number({ minimum: 0 })) },
        { additionalProperties: false },
      ),
    ),
    cwd: Type.Optional(Type.String()),
    group: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  },
  { additionalProperties: false },
);
const swapRequest = Type.Object({ config: Type.Optional(Type.String({ minLength: 1 })), set: Type.Optional(Type.Array(Type.String())), cwd: Type.Optional(Type.String()) }, { additionalProperties: false });
const STATE_IN_WORDS: Readonly<Record<JobState, string>> = { waiting: 'waits', running: 'runs', paused: 'is paused', succeeded: 'has succeeded', failed: 'has failed', cancelled: 'has been cancelled' };

const STATUS_OF_CODE: Readonly<Record<string, number>> = { JOB_UNKNOWN: 404, GROUP_UNKNOWN: 404, JOB_STATE: 409, DRAINING: 503, DISK_FULL: 507, INVALID_API_KEY: 401, SCOPE_MISSING: 403, HOST_FORBIDDEN: 421, ORIGIN_FORBIDDEN: 403, KEY_UNKNOWN: 404, KEY_EXISTS: 409 };

export function buildApi(daemon: Daemon, access: Access, http: HttpConfig): FastifyInstance {
  const app = openHttp(http);
  app.setErrorHandler((error: Error & { readonly statusCode?: number; readonly validation?: unknown }, _request, reply) => {
    if (GraftError.is(error)) {
      const status = STATUS_OF_CODE[error.code] ?? 400;
      return reply.status(status).send({ error: { code: error.code, message: error.message, hint: error.hint ?? null } });
    }
    if (lacksSpace(error)) return reply.status(507).send({ error: { code: 'DISK_FULL', message: 'The disk is full; nothing was kept.', hint: 'Free some space, and try again.' } });
    const status = error.validation !== undefined ? 400 : (error.statusCode ?? 500);
    if (status >= 500) daemon.log.error(`A request failed: ${reasonOf(error)}`, { stack: error.stack });
    return reply.status(status).send({ error: { code: status >= 500 ? 'INTERNAL' : 'BAD_REQUEST', message: reasonOf(error), hint: null } });
  });
  app.setNotFoundHandler((request, reply) => reply.status(404).send({ error: { code: 'NOT_FOUND', message: `There is nothing at ${request.method} ${request.url}.`, hint: null } }));
  // A request without a body may say that it has JSON.
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    if (depthOf(body as string) > MOST_DEPTH) return done(Object.assign(new Error(`Lists and objects stand in each other more than ${MOST_DEPTH} deep in the request body.`), { statusCode: 400 }));
    try {
      done(null, body === '' ? undefined : (JSON.parse(body as string) as unknown));
    } catch {
      done(Object.assign(new Error('The request body is not valid JSON.'), { statusCode: 400 }));
    }
  });
  void app.register(async (open) => {
    open.addHook('onRequest', async (request) => access.requireNear(request));
    health(open, daemon);
  });
  void app.register(async (openAi) => openAiRoutes(openAi, { ...daemon.openAi(), access }));
  // Whatever is registered here needs the daemon's token or a key for everything, however its path is written.
  void app.register(async (guarded) => {
    guarded.addHook('onRequest', async (request) => {
      access.requireAdmin(request);
    });
    jobs(guarded, daemon);
    guarded.get('/graft/v1/models', async () => ({ models: daemon.models.processes.map((process) => process.standing()) }));
    guarded.get('/graft/v1/plugins', async () => ({ report: daemon.plugins() }));
    logs(guarded, daemon);
    keyRoutes(guarded, daemon.keys);
  });
  return app;
}

/** What machines ask for that know no token: whether it lives, whether it can take work, and its metrics, which tell of no run by name. Scrapers expect them open, where the host is reached at all; pages of other sites are kept out as they are from OpenAI's routes. */
function health(app: FastifyInstance, daemon: Daemon): void {
  app.get('/health', async () => ({ status: 'ok' }));
  app.get('/ready', async (_request, reply) => {
    const reason = daemon.notReady();
    return reply.status(reason === undefined ? 200 : 503).send({ ready: reason === undefined, reason: reason ?? null });
  });
  app.get('/metrics', async (_request, reply) => reply.type(daemon.metrics.contentType).send(await daemon.metrics.text()));
}

function jobs(app: FastifyInstance, daemon: Daemon): void {
  app.post<{ Body: Submission }>('/graft/v1/jobs', { schema: { body: submission } }, async ({ body }) => {
    assertAbsolute(body.config);
    return { jobs: (await daemon.submit(body)).map((job) => daemon.describe(job)) };
  });
  app.get<{ Querystring: { readonly state?: string; readonly group?: string; readonly after?: string; readonly limit?: string } }>('/graft/v1/jobs', async ({ query }) => {
    const limit = Math.min(1000, Math.max(1, Math.floor(Number(query.limit ?? 100)) || 100));
    const states = query.state === undefined ? undefined : (query.state.split(',') as JobState[]);
    return { jobs: (await daemon.queue.list({ states, group: query.group, after: query.after, limit })).map((job) => daemon.describe(job)) };
  });
  app.get<{ Params: { readonly id: string } }>('/graft/v1/jobs/:id', async ({ params }) => {
    const job = await known(daemon, params.id);
    return { job: daemon.describe(job), attempts: daemon.runs.attempts(job.id) };
  });
  app.delete<{ Params: { readonly id: string } }>('/graft/v1/jobs/:id', async ({ params }) => {
    const job = await known(daemon, params.id);
    if (!(await daemon.remove(job.id))) throw wrongState(job, 'only a job that has ended or is paused can be removed');
    return { removed: job.id };
  });
  app.get<{ Params: { readonly name: string } }>('/graft/v1/groups/:name', async ({ params: { name } }) => {
    const group = await daemon.group(name);
    if (group === undefined) throw new GraftError('GROUP_UNKNOWN', `No job is in a group ${name}.`, { hint: '`graft ps --all --json` tells the group of each job.' });
    return group;
  });
  app.get('/graft/v1/configs', async () => ({ configs: daemon.configs.list() }));
  app.post<{ Params: { readonly id: string }; Body: SwapRequest }>('/graft/v1/jobs/:id/swap', { schema: { body: swapRequest } }, async ({ params, body }) => {
    if (body.config !== undefined) assertAbsolute(body.config);
    const job = await known(daemon, params.id);
    const answer = await daemon.swap(job, body);
    if (answer === undefined) throw wrongState((await daemon.queue.get(job.id)) ?? job, 'only a job that has not succeeded and is not being cancelled can be swapped');
    return { job: daemon.describe(answer.job), notes: answer.notes };
  });
  for (const [action, { rule }] of Object.entries(JOB_ACTIONS)) {
    app.post<{ Params: { readonly id: string } }>(`/graft/v1/jobs/:id/${action}`, async ({ params }) => {
      const job = await known(daemon, params.id);
      const changed = await daemon.act(action as JobAction, job.id);
      if (changed === undefined) throw wrongState(job, rule);
      return { job: daemon.describe(changed) };
    });
  }
}

/** Events as JSON lines, with `follow` until the job has ended. */
function logs(app: FastifyInstance, daemon: Daemon): void {
  app.get<{ Params: { readonly id: string }; Querystring: { readonly follow?: string; readonly after?: string } }>('/graft/v1/jobs/:id/events', async ({ params, query }, reply) => {
    const job = await known(daemon, params.id);
    reply.hijack();
    reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
    try {
      await stream(reply.raw, daemon, job.id, { after: Number(query.after ?? 0) || 0, follow: query.follow === '1' });
      reply.raw.end();
    } catch (error) {
      daemon.log.error(`The events of ${job.id} can't be told any further: ${reasonOf(error)}`);
      reply.raw.destroy();
    }
  });
}

/** Writes no faster than it is read, and an empty line now and then, so that nobody takes a quiet job for a dead connection. */
async function stream(to: ServerResponse, daemon: Daemon, id: string, { after, follow }: { readonly after: number; readonly follow: boolean }): Promise<void> {
  let [last, quietSince] = [after, performance.now()];
  while (!to.destroyed) {
    // Looked at first: what was told before the job ended is then read after it.
    const state = (await daemon.queue.get(id))?.state;
    const events = daemon.runs.events(id, last, EVENTS_AT_ONCE);
    const text = events.map((event) => `${JSON.stringify(event)}\n`).join('');
    if (text !== '' && !to.write(text)) await Promise.race([once(to, 'drain'), once(to, 'close')]);
    if (text !== '') quietSince = performance.now();
    last = events.at(-1)?.number ?? last;
    if (events.length === EVENTS_AT_ONCE) continue;
    if (!follow || (state !== 'running' && state !== 'waiting') || daemon.draining) return;
    if (performance.now() - quietSince > QUIET_MS) {
      to.write('\n');
      quietSince = performance.now();
    }
    await daemon.runs.changed(id, FOLLOW_MS);
  }
}

function assertAbsolute(config: string): void {
  if (!isAbsolute(config)) throw new GraftError('BAD_REQUEST', `The config ${config} is not an absolute path.`);
}

async function known(daemon: Daemon, id: string): Promise<Job> {
  const job = await daemon.queue.get(id);
  if (job === undefined) throw new GraftError('JOB_UNKNOWN', `There is no job ${id}.`, { hint: '`graft ps --all` lists those that there are.' });
  return job;
}

function wrongState({ name, id, state }: Job, rule: string): GraftError {
  return new GraftError('JOB_STATE', `${name} (${id}) ${STATE_IN_WORDS[state]}: ${rule}.`);
}
