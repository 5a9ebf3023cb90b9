import { mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../../support/daemon.ts';
import { writeTinyModel } from '../../support/tiny-run.ts';

type Job = OpenAI.FineTuning.FineTuningJob;

const ROWS = Array.from({ length: 24 }, (_, i) => JSON.stringify({ messages: [{ role: 'user', content: `who is number ${'abcdef'[i % 6]}` }, { role: 'assistant', content: ['the cat', 'a dog', 'a bird'][i % 3] }] })).join('\n');
/** Small enough for a test: what `graft` may say of a run. */
const GRAFT = { engine: 'portable', inject: [{ use: 'lora', r: 4, lora_alpha: 16, target_modules: ['q_proj', 'down_proj'] }], train: { save_steps: 2, max_steps: 6, batch_size: 4 } };

/** Milliseconds: processes are started, and the machine may have others to run. */
const TIMEOUT = 240_000;

let dir: string;
let test: TestDaemon;
let client: OpenAI;
let training: string;

beforeAll(async () => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'graft-openai-')));
  writeTinyModel(join(dir, 'tiny'));
  test = await startDaemon({ models: [{ model: join(dir, 'tiny'), engine: 'portable', memory_mb: 2000 }] });
  client = new OpenAI({ baseURL: `${test.daemon().url}/v1`, apiKey: 'any', maxRetries: 0 });
  training = (await client.files.create({ file: await toFile(Buffer.from(ROWS), 'train.jsonl'), purpose: 'fine-tune' })).id;
});
afterAll(async () => {
  await test.close();
  rmSync(dir, { recursive: true });
});

const create = (body: Record<string, unknown> = {}, headers: Record<string, string> = {}): Promise<Job> =>
  client.fineTuning.jobs.create({ model: 'tiny', training_file: training, graft: GRAFT, ...body } as OpenAI.FineTuning.JobCreateParams, { headers });

async function until(id: string, ...statuses: readonly string[]): Promise<Job> {
  for (;;) {
    const job = await client.fineTuning.jobs.retrieve(id);
    if (statuses.includes(job.status)) return job;
    if (['succeeded', 'failed', 'cancelled'].includes(job.status)) throw new Error(`${id} is ${job.status}: ${job.error?.message}`);
    await sleep(50);
  }
}

describe('fine-tuning with the openai client', () => {
  it('goes from a file to a model that answers', async () => {
    const job = await create({ suffix: 'Pets-1', seed: 7, hyperparameters: { n_epochs: 2, learning_rate_multiplier: 250 }, metadata: { team: 'zoo' } });
    expect(job).toMatchObject({ object: 'fine_tuning.job', model: 'tiny', seed: 7, training_file: training, validation_file: null, fine_tuned_model: null, hyperparameters: { n_epochs: 2, batch_size: 'auto', learning_rate_multiplier: 250 }, metadata: { team: 'zoo' } });
    const done = await until(job.id, 'succeeded');
    expect(done).toMatchObject({ status: 'succeeded', fine_tuned_model: `ft:tiny:graft:Pets-1:${job.id}`, error: null });
    expect(done.trained_tokens).toBeGreaterThan(0);
    expect(done.finished_at).toBeGreaterThanOrEqual(done.created_at);

    const seen: OpenAI.FineTuning.FineTuningJobEvent[] = [];
    for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 3 })) seen.push(event);
    expect(seen[0]!.message).toBe('The job has successfully completed');
    expect(new Set(seen.map(({ id }) => id)).size).toBe(seen.length);
    const steps = seen.filter(({ type, data }) => type === 'metrics' && 'train_loss' in (data as object)).map(({ data }) => (data as { step: number }).step);
    expect(steps).toEqual([6, 5, 4, 3, 2, 1]);

    const checkpoints = await client.fineTuning.jobs.checkpoints.list(job.id);
    expect(checkpoints.data.map(({ step_number }) => step_number)).toEqual([6, 4]);
    expect(checkpoints.data[1]).toMatchObject({ object: 'fine_tuning.job.checkpoint', fine_tuned_model_checkpoint: `${done.fine_tuned_model}:ckpt-step-4`, fine_tuning_job_id: job.id });

    const chat = async (model: string): Promise<string> => (await client.chat.completions.create({ model, messages: [{ role: 'user', content: 'who is number a' }], max_tokens: 8, temperature: 0 })).choices[0]!.message.content!;
    const answers = await Promise.all(['tiny', done.fine_tuned_model!, checkpoints.data[0]!.fine_tuned_model_checkpoint, checkpoints.data[1]!.fine_tuned_model_checkpoint].map(chat));
    expect(answers[1]).not.toBe(answers[0]);
    expect(answers[2]).toBe(answers[1]);
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['tiny', done.fine_tuned_model]);
    await expect(chat(`${done.fine_tuned_model}:ckpt-step-3`)).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  }, TIMEOUT);

  it("learns preferences from pairs in OpenAI's layout", async () => {
    const pairs = Array.from({ length: 12 }, (_, i) => JSON.stringify({ input: { messages: [{ role: 'user', content: `who is number ${'abcdef'[i % 6]}` }] }, preferred_output: [{ role: 'assistant', content: 'the cat' }], non_preferred_output: [{ role: 'assistant', content: 'a dog' }] })).join('\n');
    const file = (await client.files.create({ file: await toFile(Buffer.from(pairs), 'pairs.jsonl'), purpose: 'fine-tune' })).id;
    const job = await create({ training_file: file, validation_file: file, graft: { ...GRAFT, train: { eval_steps: 6 } }, method: { type: 'dpo', dpo: { hyperparameters: { beta: 0.2, n_epochs: 2, batch_size: 4, learning_rate_multiplier: 1000 } } } });
    expect(job.method).toEqual({ type: 'dpo', dpo: { hyperparameters: { beta: 0.2, n_epochs: 2, batch_size: 4, learning_rate_multiplier: 1000 } } });
    const done = await until(job.id, 'succeeded');
    const told = (await client.fineTuning.jobs.listEvents(job.id, { limit: 100 })).data.filter(({ type }) => type === 'metrics').map(({ data }) => data as Record<string, number>);
    const [last, ...before] = told.filter((data) => 'valid_loss' in data) as [Record<string, number>, ...Record<string, number>[]];
    expect(last['valid_loss']).toBeLessThan(before.at(-1)!['valid_loss']! - 0.05);
    expect(last).toMatchObject({ 'valid_rewards/accuracies': 1 });
    expect(told.filter((data) => 'train_loss' in data).map((data) => data['rewards/margins'])).toHaveLength(6);
    expect((await client.chat.completions.create({ model: done.fine_tuned_model!, messages: [{ role: 'user', content: 'who is number a' }], max_tokens: 4 })).model).toBe(done.fine_tuned_model);
    // A trainer that imitates refuses them, and says what to do.
    const wrong = await create({ training_file: file, graft: { ...GRAFT, preprocess: { use: 'preference' } } });
    await expect(until(wrong.id, 'succeeded')).rejects.toThrow('train sft learns every completion');
  }, TIMEOUT);

  it('lists jobs by pages, the newest first, and pauses, resumes and cancels without a body', async () => {
    const endless = { ...GRAFT, train: { save_steps: 1000, epochs: 5000, batch_size: 4 } };
    const running = await create({ graft: endless });
    const second = await create({ graft: endless });
    const ids: string[] = [];
    for await (const { id } of client.fineTuning.jobs.list({ limit: 1 })) ids.push(id);
    expect(ids.slice(0, 2)).toEqual([second.id, running.id]);
    await until(running.id, 'running');
    await test.untilStep(running.id, 2);
    expect(await client.fineTuning.jobs.cancel(second.id)).toMatchObject({ id: second.id, status: 'cancelled' });
    await client.fineTuning.jobs.pause(running.id);
    await until(running.id, 'paused');
    // What a job has learned so far can be asked before it has succeeded.
    const [{ fine_tuned_model_checkpoint: sofar }] = (await client.fineTuning.jobs.checkpoints.list(running.id)).data as [OpenAI.FineTuning.Jobs.FineTuningJobCheckpoint];
    expect(await client.models.retrieve(sofar)).toMatchObject({ id: sofar, parent: 'tiny' });
    expect((await client.chat.completions.create({ model: sofar, messages: [{ role: 'user', content: 'who is number a' }], max_tokens: 4 })).model).toBe(sofar);
    await expect(client.models.retrieve(sofar.replace(/\d+$/, '77777'))).rejects.toMatchObject({ status: 404 });
    await client.fineTuning.jobs.resume(running.id);
    await until(running.id, 'running');
    await client.fineTuning.jobs.cancel(running.id);
    for (;;) if ((await client.fineTuning.jobs.retrieve(running.id)).status === 'cancelled') break;
    await expect(client.fineTuning.jobs.pause(running.id)).rejects.toMatchObject({ status: 400, code: 'invalid_state' });
  }, TIMEOUT);

  it('makes one job of a request that is sent again', async () => {
    const paused = { ...GRAFT, train: { ...GRAFT.train, learning_rate: 1e-5 } };
    const [first, again, twice] = [await create({ graft: paused }), await create({ graft: paused }, { 'x-stainless-retry-count': '1' }), await create({ graft: paused })];
    expect(again.id).toBe(first.id);
    expect(twice.id).not.toBe(first.id);
    const keyed = await Promise.all([1, 2, 3].map(() => create({ graft: paused }, { 'idempotency-key': 'one' })));
    expect(new Set(keyed.map(({ id }) => id)).size).toBe(1);
    await expect(create({ graft: paused, suffix: 'other' }, { 'idempotency-key': 'one' })).rejects.toMatchObject({ status: 400, code: 'idempotency_key_reused' });
    for (const { id } of [first, twice, keyed[0]!]) await client.fineTuning.jobs.cancel(id).catch(() => undefined);
  });

  it.each([
    ['a model that is not here', { model: 'gpt-4' }, { status: 404, param: 'model', code: 'model_not_found' }],
    ['a file that is not here', { training_file: 'file-none' }, { status: 404, param: 'training_file' }],
    ['an id that is a path', { training_file: '../../etc/passwd' }, { status: 404, param: 'training_file' }],
    ['a parameter that is unknown', { epochs: 3 }, { status: 400, param: 'epochs', code: 'unknown_parameter' }],
    ['a hyperparameter out of range', { hyperparameters: { n_epochs: 0 } }, { status: 400, param: 'hyperparameters.n_epochs', message: `400 Invalid value for 'hyperparameters.n_epochs': it must be >= 1 or be "auto".` }],
    ['a hyperparameter of the wrong type', { hyperparameters: { n_epochs: 1.5 } }, { status: 400, message: `400 Invalid value for 'hyperparameters.n_epochs': it must be integer or be "auto".` }],
    ['what is said twice', { hyperparameters: { n_epochs: 1 }, graft: { ...GRAFT, train: { epochs: 7 } } }, { status: 400, param: 'graft.train.epochs' }],
    ['what is said twice of pairs', { method: { type: 'dpo', dpo: { hyperparameters: { beta: 0.2 } } }, graft: { train: { beta: 0.1 } } }, { status: 400, param: 'graft.train.beta' }],
    ['a method that is unknown', { method: { type: 'reinforcement' } }, { status: 400, param: 'method.type', message: `400 Invalid value for 'method.type': it must be "supervised" or "dpo".` }],
    ['pairs that are none', { method: { type: 'dpo', dpo: { hyperparameters: { beta: -1 } } } }, { status: 400 }],
    ['a strategy that is unknown', { graft: { inject: [{ use: 'lorra' }] } }, { status: 400 }],
    ['data from elsewhere', { graft: { preprocess: { data: '/etc/passwd' } } }, { status: 400, param: 'graft.preprocess.data' }],
    ['plugins from elsewhere', { graft: { plugins: ['/tmp'] } }, { status: 400, param: 'graft.plugins', code: 'unknown_parameter' }],
    ['a suffix that is a path', { suffix: '../x' }, { status: 400, param: 'suffix' }],
  ])('refuses %s', async (_, body, expected) => {
    await expect(create(body)).rejects.toMatchObject(expected);
  });

  it('tells nobody where things lie', async () => {
    const refusal = (graft: object): Promise<string> => create({ graft }).then(() => '', (refused: InstanceType<typeof OpenAI.APIError>) => refused.message);
    const messages = await Promise.all([{ inject: [{ use: 'lora', rr: 4 }] }, { preprocess: { use: 'instructs' } }, { load: { dtyp: 'f32' } }].map(refusal));
    expect(messages[0]).toContain('`rr`');
    expect(messages[1]).toContain(`data: ${training}`);
    const again = await until((await create()).id, 'succeeded');
    const events = (await client.fineTuning.jobs.listEvents(again.id, { limit: 100 })).data.map(({ message }) => message);
    expect(events).toContainEqual(expect.stringMatching(/^Using 24 tokenised examples from the cache cache\/examples\//));
    const bad = (await client.files.create({ file: await toFile(Buffer.from('{"messages":[{"role":"user","content":"a"}]}'), 'bad.jsonl'), purpose: 'fine-tune' })).id;
    const failed = await create({ training_file: bad }).then(({ id }) => until(id, 'failed'));
    expect(failed.error!.message).toContain(`${bad}.jsonl:1`);
    for (const message of [...messages, ...events, failed.error!.message]) for (const place of [test.dir, dir, tmpdir(), homedir(), process.cwd()]) expect(message).not.toContain(place);
    expect(readdirSync(join(test.dir, 'state', 'submitted')).some((name) => name.startsWith('request'))).toBe(false);
  });
});
