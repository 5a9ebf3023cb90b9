import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { DaemonClient } from '../../../core/host/client.ts';
import { startDaemon, type TestDaemon } from '../../support/daemon.ts';
import { writeTinyModel } from '../../support/tiny-run.ts';

/** A strategy with an option that is a path: it is never run. */
const PLUGIN = `import { definePlugin, Type } from 'graft';
export default definePlugin({ stage: 'inject', config: Type.Object({ from: Type.Optional(Type.Array(Type.String({ graftPath: true }))) }), setup: () => ({ inject: async () => { throw new Error('never'); } }) });
`;

const dir = mkdtempSync(join(tmpdir(), 'graft-limits-'));
let test: TestDaemon;
let client: OpenAI;
let file: string;

const create = (body: Record<string, unknown> = {}): Promise<OpenAI.FineTuning.FineTuningJob> => client.fineTuning.jobs.create({ model: 'org/tiny', training_file: file, ...body } as OpenAI.FineTuning.JobCreateParams);

beforeAll(async () => {
  writeTinyModel(join(dir, 'tiny'));
  mkdirSync(join(dir, 'plugins', 'inject-reader'), { recursive: true });
  writeFileSync(join(dir, 'plugins', 'inject-reader', 'package.json'), JSON.stringify({ name: 'reader', version: '0.1.0', type: 'module', main: './index.ts', graft: { api: '^1.0.0', stage: 'inject', name: 'reader' } }));
  writeFileSync(join(dir, 'plugins', 'inject-reader', 'index.ts'), PLUGIN);
  // Less memory than a job takes, so that none of them ever starts.
  test = await startDaemon({ capacity: { cpu: 2, memory_mb: 100 }, models: [{ id: 'org/tiny', model: join(dir, 'tiny'), serve: false }], plugins: [join(dir, 'plugins')] });
  client = new OpenAI({ baseURL: `${test.daemon().url}/v1`, apiKey: 'any' });
  file = (await client.files.create({ file: await toFile(Buffer.from('{"prompt":"a","completion":"b"}\n'), 'a.jsonl'), purpose: 'fine-tune' })).id;
});
afterAll(async () => {
  await test.close();
  rmSync(dir, { recursive: true });
});

describe('a fine-tuning job', () => {
  it('keeps its file from being deleted until it has ended, and tells a client not to ask again', async () => {
    const { id } = await create();
    await expect(client.files.delete(file)).rejects.toMatchObject({ status: 409, code: 'file_in_use', message: expect.stringContaining(id) as string });
    const { status, headers } = await fetch(`${test.daemon().url}/v1/files/${file}`, { method: 'DELETE' });
    expect([status, headers.get('x-should-retry')]).toEqual([409, 'false']);
    expect(await client.fineTuning.jobs.cancel(id)).toMatchObject({ status: 'cancelled', fine_tuned_model: null });
    const copy = await client.files.create({ file: await client.files.content(file), purpose: 'fine-tune' });
    expect(await client.files.delete(copy.id)).toMatchObject({ deleted: true });
  });

  it('is found by its metadata, or by having none', async () => {
    const [red, blue, bare] = [await create({ metadata: { team: 'red', 'a b': '1' } }), await create({ metadata: { team: 'blue' } }), await create()];
    const found = async (metadata: Record<string, string> | null): Promise<readonly string[]> => {
      const ids: string[] = [];
      for await (const { id } of client.fineTuning.jobs.list({ metadata, limit: 1 })) ids.push(id);
      return ids.filter((id) => [red.id, blue.id, bare.id].includes(id));
    };
    expect(await found({ team: 'red' })).toEqual([red.id]);
    expect(await found({ team: 'red', 'a b': '1' })).toEqual([red.id]);
    expect(await found({ team: 'red', 'a b': '2' })).toEqual([]);
    expect(((await (await fetch(`${test.daemon().url}/v1/fine_tuning/jobs?metadata=null`)).json()) as { data: { id: string }[] }).data.map(({ id }) => id)).toContain(bare.id);
    for (const { id } of [red, blue, bare]) await client.fineTuning.jobs.cancel(id);
  });

  it('is gone when it is removed', async () => {
    const { id } = await create();
    await client.fineTuning.jobs.cancel(id);
    await DaemonClient.find(join(test.dir, 'state')).remove(id);
    await expect(client.fineTuning.jobs.retrieve(id)).rejects.toMatchObject({ status: 404, code: 'fine_tune_not_found' });
  });

  it.each([
    ['an option that a strategy marks as a path', { inject: [{ use: 'lora' }, { use: 'reader', from: ['/etc/passwd'] }] }, 'graft.inject[1].from'],
    ['another model', { load: { model: '/etc' } }, 'graft.load.model'],
    ['data of its own', { preprocess: { eval_data: './x' } }, 'graft.preprocess.eval_data'],
    ['data of its own by another plugin', { preprocess: { use: 'text', data: '/etc/passwd' } }, 'graft.preprocess.data'],
  ])('may not say where files lie: %s', async (_, graft, param) => {
    await expect(create({ graft })).rejects.toMatchObject({ status: 400, param });
  });

  it('has the texts of a request as texts, whatever they are in YAML', async () => {
    const text = '&a [*a, *a]\n${{HOME}} !!js <<: - "x"';
    const { id } = await create({ graft: { preprocess: { template: '{instruction}{output}', system_prompt: text.replaceAll('${', '$ {') } } });
    const submitted = join(test.dir, 'state', 'submitted');
    const prompts = readdirSync(submitted).map((name) => (parse(readFileSync(join(submitted, name), 'utf8')) as { preprocess: { system_prompt?: string }[] }).preprocess[0]!.system_prompt);
    expect(prompts).toContain(text.replaceAll('${', '$ {'));
    await client.fineTuning.jobs.cancel(id);
    // What looks like an environment variable is never filled in.
    await expect(create({ graft: { preprocess: { system_prompt: '${HOME}' } } })).rejects.toMatchObject({ status: 400, message: expect.stringContaining('does not read environment variables') as string });
  });

  it.each([
    ['in the request', 200_000],
    ['in its config', 70],
  ])('is refused where lists stand in each other too deep %s, and says so at once', async (_, depth) => {
    const body = `{"model":"org/tiny","training_file":"${file}","graft":{"train":{"use":"sft","epochs":${'['.repeat(depth)}${']'.repeat(depth)}}}}`;
    const answer = await fetch(`${test.daemon().url}/v1/fine_tuning/jobs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    expect(answer.status).toBe(400);
    expect(JSON.stringify(await answer.json())).toMatch(/deep/);
  });

  it.each([
    ['more than there may be', 413, `"${'x'.repeat(2 * 2 ** 20)}"`],
    ['no JSON', 400, '{"model":'],
    ['a list', 400, '[]'],
  ])('is refused where the request is %s', async (_, status, body) => {
    const answer = await fetch(`${test.daemon().url}/v1/fine_tuning/jobs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    expect(answer.status).toBe(status);
    expect(answer.headers.get('x-request-id')).toMatch(/^req_/);
    expect(await answer.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
  });
});

it('refuses an alias bomb in a submitted config before it goes off', async () => {
  const bomb = join(test.dir, 'bomb.yaml');
  const lines = Array.from({ length: 9 }, (_, i) => `${'bcdefghij'[i]}: &${'bcdefghij'[i]} [${Array.from({ length: 9 }, () => `*${'abcdefghi'[i]}`).join(', ')}]`);
  writeFileSync(bomb, ['a: &a [x, x, x, x, x, x, x, x, x]', ...lines].join('\n'));
  await expect(DaemonClient.find(join(test.dir, 'state')).submit({ config: bomb })).rejects.toMatchObject({ message: expect.stringMatching(/bomb\.yaml:\d+:\d+: With its aliases expanded this holds more than 100,000 values/) as string });
});
