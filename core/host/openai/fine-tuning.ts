/** /v1/fine_tuning/jobs: runs as OpenAI's clients ask for them and follow them. */
import { randomInt } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { stringify } from 'yaml';
import type { Job, JobState } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { CheckpointFolder } from '../../run/checkpoints.ts';
import { writeText } from '../../run/durable.ts';
import { newRunId } from '../../run/run-directory.ts';
import type { DescribedJob } from '../described-job.ts';
import { baseId, type ServedBase } from '../daemon-config.ts';
import type { JobAction } from '../job-action.ts';
import type { RunStore } from '../run-store.ts';
import type { EnqueueOptions, Submission } from '../submissions.ts';
import { ApiError, invalid } from './api-error.ts';
import { bodyHash, idempotencyKey, isRetry, RETRY_WINDOW_MS } from './retries.ts';
import { eventObject, TOLD_EVENTS, type EventObject } from './fine-tuning-event.ts';
import { FineTuningBody, hyperparametersOf, refuseContradictions, runConfigOf } from './fine-tuning-body.ts';
import { refusePaths, type SchemaOf } from './graft-field.ts';
import { withMetadata } from './metadata-filter.ts';
import type { FineTuningRecord, FineTuningStore } from './fine-tuning-store.ts';
import { noSuchFile } from './files.ts';
import type { FileStore } from './file-store.ts';
import { limitOf, page, pageOf, type PageQuery } from './pages.ts';

export interface FineTuningOptions {
  readonly store: FineTuningStore;
  readonly files: FileStore;
  readonly runs: RunStore;
  readonly bases: readonly ServedBase[];
  /** Absolute; configs on their way to the queue. */
  readonly configsDir: string;
  /** Absolute; where run directories are made. */
  readonly runsDir: string;
  submit(submission: Submission, options?: EnqueueOptions): Promise<readonly Job[]>;
  job(id: string): Promise<DescribedJob | undefined>;
  act(action: JobAction, id: string): Promise<Job | undefined>;
  schema: SchemaOf;
  /** A text without where things lie on this machine. */
  told(text: string): string;
}

const STATUS: Readonly<Record<JobState, string>> = { waiting: 'queued', running: 'running', paused: 'paused', succeeded: 'succeeded', failed: 'failed', cancelled: 'cancelled' };
const ACTIONS = ['cancel', 'pause', 'resume'] as const;
const NOW = { cancel: 'cancelled', pause: 'paused', resume: 'resumed' } as const;

type Params = { readonly Params: { readonly id: string } };

export function fineTuningRoutes(app: FastifyInstance, options: FineTuningOptions): void {
  const { store, runs } = options;
  const told = (event: EventObject): EventObject => ({ ...event, message: options.told(event.message) });
  /** One creation after the other, so that a request that is sent twice at once makes one job, too. */
  let creating: Promise<unknown> = Promise.resolve();

  app.post<{ Body: FineTuningBody }>('/v1/fine_tuning/jobs', { schema: { body: FineTuningBody } }, async (request) => {
    const turn = creating.then(async () => {
      const hash = bodyHash(request.body);
      const key = idempotencyKey(request);
      const named = key === undefined ? undefined : store.byKey(key);
      if (named !== undefined && named.bodyHash !== hash) throw new ApiError(400, `The idempotency key ${JSON.stringify(key)} was sent before with another body.`, 'invalid_request_error', null, 'idempotency_key_reused');
      const before = named ?? (isRetry(request) ? store.byBody(hash, Date.now() - RETRY_WINDOW_MS) : undefined);
      return before ?? create(options, request.body, { bodyHash: hash, idempotencyKey: key });
    });
    creating = turn.catch(() => undefined);
    return describe(options, await turn);
  });

  app.get<{ Querystring: PageQuery }>('/v1/fine_tuning/jobs', async ({ query }) => {
    const listed = pageOf(store.list().filter(withMetadata(query)).map((record) => ({ id: record.jobId, record })), query, 20, 100);
    return { ...listed, data: await Promise.all(listed.data.map(({ record }) => describe(options, record))) };
  });
  app.get<Params>('/v1/fine_tuning/jobs/:id', async ({ params }) => describe(options, known(store, params.id)));

  for (const action of ACTIONS) {
    app.post<Params>(`/v1/fine_tuning/jobs/:id/${action}`, async ({ params }) => {
      const record = known(store, params.id);
      if ((await options.act(action, record.jobId)) === undefined) {
        const job = await options.job(record.jobId);
        throw new ApiError(400, `Job ${record.jobId} is ${job === undefined ? 'gone' : STATUS[job.state]} and can't be ${NOW[action]}.`, 'invalid_request_error', null, 'invalid_state');
      }
      return describe(options, record);
    });
  }

  app.get<Params & { Querystring: PageQuery }>('/v1/fine_tuning/jobs/:id/events', async ({ params, query }) => {
    const { jobId } = known(store, params.id);
    const limit = limitOf(query, 20, 1000);
    const before = query.after === undefined ? undefined : Number(/^ftevent-(\d+)$/.exec(query.after)?.[1] ?? Number.NaN);
    if (before !== undefined && Number.isNaN(before)) throw invalid(`There is no event with the id '${query.after!}'.`, 'after', 'invalid_value');
    const events = runs.eventsBefore(jobId, { before, limit: limit + 1, types: TOLD_EVENTS });
    return page<EventObject>(events.slice(0, limit).map((event) => told(eventObject(event))), events.length > limit);
  });

  app.get<Params & { Querystring: PageQuery }>('/v1/fine_tuning/jobs/:id/checkpoints', async ({ params, query }) => {
    const { jobId, name } = known(store, params.id);
    const dir = runs.directory(jobId);
    const checkpoints = dir === undefined ? [] : await new CheckpointFolder(join(dir, 'checkpoints')).list();
    const numbers = runs.numbers(jobId);
    const objects = checkpoints.map(({ step, evalLoss, createdAt }) => ({
      id: `ftckpt-${jobId}-${step}`,
      object: 'fine_tuning.job.checkpoint',
      created_at: Math.floor(createdAt / 1000),
      fine_tuned_model_checkpoint: `${name}:ckpt-step-${step}`,
      fine_tuning_job_id: jobId,
      step_number: step,
      metrics: { step, ...(numbers.get(step)?.loss === undefined ? {} : { train_loss: numbers.get(step)!.loss }), ...(evalLoss === undefined ? {} : { valid_loss: evalLoss, full_valid_loss: evalLoss }) },
    }));
    return pageOf(objects.reverse(), query, 10, 1000);
  });
}

function known(store: FineTuningStore, id: string): FineTuningRecord {
  const record = store.get(id);
  if (record === undefined) throw new ApiError(404, `Could not find fine tune: ${id}.`, 'invalid_request_error', 'fine_tuning_job_id', 'fine_tune_not_found');
  return record;
}

async function create({ store, files, bases, configsDir, runsDir, submit, schema, told }: FineTuningOptions, body: FineTuningBody, retry: Pick<FineTuningRecord, 'bodyHash' | 'idempotencyKey'>): Promise<FineTuningRecord> {
  refusePaths(body, schema);
  refuseContradictions(body);
  const base = bases.find((each) => baseId(each) === body.model);
  if (base === undefined) throw new ApiError(404, `The model '${body.model}' can't be fine-tuned here. There are: ${bases.map(baseId).join(', ') || 'none'}.`, 'invalid_request_error', 'model', 'model_not_found');
  const pathOf = (param: 'training_file' | 'validation_file'): string | undefined => {
    const id = body[param] ?? undefined;
    if (id === undefined) return undefined;
    const file = files.get(id);
    if (file === undefined || (file.expiresAt ?? Infinity) <= Date.now()) throw noSuchFile(id, param);
    if (file.purpose !== 'fine-tune') throw invalid(`The purpose of ${id} is '${file.purpose}', not 'fine-tune'.`, param, 'invalid_value');
    return files.path(file);
  };
  const paths = { training: pathOf('training_file')!, validation: pathOf('validation_file') };
  const seed = body.seed ?? randomInt(2 ** 31);
  const suffix = body.suffix ?? undefined;
  const name = suffix ?? 'fine-tune';
  const config = join(configsDir, `${newRunId('request')}.yaml`);
  try {
    await writeText(config, stringify(runConfigOf(body, base, paths, { name, seed, runsDir })));
    const { model, training_file, validation_file = null, metadata = null, method } = body;
    const type = method?.type ?? 'supervised';
    const hyperparameters = { n_epochs: 'auto', batch_size: 'auto', learning_rate_multiplier: 'auto', ...(type === 'dpo' ? { beta: 'auto' } : {}), ...hyperparametersOf(body) };
    const request = { model, training_file, validation_file, suffix: suffix ?? null, seed, hyperparameters, method: { type, [type]: { hyperparameters } }, metadata };
    const recordOf = (jobId: string): FineTuningRecord => ({ ...retry, jobId, request, name: `ft:${model}:graft:${suffix ?? ''}:${jobId}`, createdAt: Date.now() });
    let record: FineTuningRecord | undefined;
    // In one transaction with the job: a host that is killed leaves both or none.
    const ids = [training_file, ...(validation_file === null ? [] : [validation_file])];
    await files.during(ids, () => submit({ config, suffix: suffix ?? '' }, { made: ([job]) => store.add((record = recordOf(job!.id))) }));
    return record!;
  } catch (error) {
    // The config was made here: its places mean nothing to whoever asked.
    if (GraftError.is(error) && error.code !== 'DRAINING' && error.code !== 'DISK_FULL') throw invalid(told(error.message.replaceAll(config, 'the config of the request')), null, error.code.toLowerCase());
    throw error;
  } finally {
    await rm(config, { force: true });
  }
}

async function describe({ job: jobOf, runs, told }: FineTuningOptions, { jobId, request, name, createdAt }: FineTuningRecord): Promise<object> {
  const job = await jobOf(jobId);
  const seconds = (ms: number | undefined): number | null => (ms === undefined ? null : Math.floor(ms / 1000));
  const { model, ...asked } = request;
  const standing = job?.standing;
  const left = standing?.totalSteps === undefined || standing.secondsPerStep === undefined ? undefined : (standing.totalSteps - standing.step) * standing.secondsPerStep;
  return {
    id: jobId,
    object: 'fine_tuning.job',
    model,
    created_at: Math.floor(createdAt / 1000),
    finished_at: job !== undefined && ['succeeded', 'failed', 'cancelled'].includes(job.state) ? seconds(job.endedAt) : null,
    estimated_finish: job?.state === 'running' && left !== undefined ? Math.ceil(Date.now() / 1000 + left) : null,
    status: job === undefined ? 'cancelled' : STATUS[job.state],
    fine_tuned_model: job?.state === 'succeeded' ? name : null,
    trained_tokens: job?.state === 'succeeded' ? runs.tokens(jobId) : null,
    error: job?.state === 'failed' ? { code: (job.code ?? 'failed').toLowerCase(), message: told(job.reason ?? 'It failed.'), param: paramOf(request, job.reason ?? '') } : null,
    organization_id: 'graft',
    result_files: [],
    integrations: [],
    ...asked,
  };
}

/** The file that a failure is about, where it names one. */
function paramOf({ training_file, validation_file }: FineTuningRecord['request'], reason: string): string | null {
  if (reason.includes(training_file)) return 'training_file';
  return validation_file !== null && reason.includes(validation_file) ? 'validation_file' : null;
}
