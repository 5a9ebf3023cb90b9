/** A strategy that is none of ours, and whose plugin recognizes no folder: what a job trains with it is served by name. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scaffoldPlugin } from '../../core/cli/scaffold.ts';
import { graft } from '../support/command.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { writeTinyModel } from '../support/tiny-run.ts';

const ROWS = Array.from({ length: 24 }, (_, i) => JSON.stringify({ messages: [{ role: 'user', content: `who is ${'abcdef'[i % 6]}` }, { role: 'assistant', content: 'the cat' }] })).join('\n');
const OPTIONS = { target_modules: ['v_proj', 'down_proj', 'up_proj'] };
/** Milliseconds: processes are started, and the machine may have others to run. */
const TIMEOUT = 240_000;

let dir: string;
let test: TestDaemon;
let client: OpenAI;
/** Where the job's graft is saved. */
let saved: string;
let answer: string;

const ask = async (model: string): Promise<string> => (await client.completions.create({ model, prompt: 'who is a', max_tokens: 12, temperature: 0 })).choices[0]!.text;
const load = (name: string, lora_path: string): Promise<unknown> => client.post('/load_lora_adapter', { body: { lora_name: name, lora_path }, maxRetries: 0 });

/** A copy of the saved graft that says something else of its origin. */
function copyOf(name: string, origin: unknown): string {
  const copy = join(dir, 'adapters', name);
  cpSync(saved, copy, { recursive: true });
  writeFileSync(join(copy, 'graft_adapter.json'), JSON.stringify(origin));
  return copy;
}

beforeAll(async () => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'graft-third-party-serving-')));
  writeTinyModel(join(dir, 'tiny'));
  mkdirSync(join(dir, 'adapters'));
  await scaffoldPlugin('scaled', 'inject', join(dir, 'plugins'));
  test = await startDaemon({ plugins: [join(dir, 'plugins')], models: [{ model: join(dir, 'tiny'), engine: 'portable', memory_mb: 2000 }], adapter_roots: [join(dir, 'adapters')] });
  client = new OpenAI({ baseURL: `${test.daemon().url}/v1`, apiKey: 'any', maxRetries: 0 });
}, TIMEOUT);
afterAll(async () => {
  await test.close();
  rmSync(dir, { recursive: true });
});

describe('a strategy whose plugin recognizes no folder', () => {
  it('is trained by a job, and served by its name', async () => {
    const training_file = (await client.files.create({ file: await toFile(Buffer.from(ROWS), 'train.jsonl'), purpose: 'fine-tune' })).id;
    const own = { engine: 'portable', inject: [{ use: 'scaled', ...OPTIONS }], train: { max_steps: 8, batch_size: 4, learning_rate: 0.1 } };
    const { id } = await client.fineTuning.jobs.create({ model: 'tiny', training_file, graft: own } as OpenAI.FineTuning.JobCreateParams);
    await test.until(id, 'succeeded');
    const { fine_tuned_model } = await client.fineTuning.jobs.retrieve(id);
    answer = await ask(fine_tuned_model!);
    expect(answer).not.toBe(await ask('tiny'));
    saved = join(test.daemon().adapters.ofJob(id)!.dir, '0-scaled');
    expect(JSON.parse(readFileSync(join(saved, 'graft_adapter.json'), 'utf8'))).toEqual({ plugin: 'scaled', options: OPTIONS, withheld: [] });
    // A checkpoint's folders say it too.
    const [checkpoint] = (await client.fineTuning.jobs.checkpoints.list(id)).data;
    expect(await ask(checkpoint!.fine_tuned_model_checkpoint)).toBe(answer);
  }, TIMEOUT);

  it('is served from a copy of its folder', async () => {
    await load('copy', copyOf('copy', { plugin: 'scaled', options: OPTIONS, withheld: [] }));
    expect(await ask('copy')).toBe(answer);
  }, TIMEOUT);

  it.each([
    ['a plugin that is not here', { plugin: 'gone', options: {}, withheld: [] }, /copy-0 was made by the inject plugin `gone`, and none of that name can be used here.* Put its folder into plugins\/, or list/],
    ['an option that the plugin does not have', { plugin: 'scaled', options: { target_modules: ['v_proj'], rank: 3 }, withheld: [] }, /rank/],
    ['an option of the wrong type', { plugin: 'scaled', options: { target_modules: 3 }, withheld: [] }, /target_modules/],
    ['options that were withheld', { plugin: 'scaled', options: {}, withheld: ['target_modules'] }, /was made by `scaled` with `target_modules`, and .*graft_adapter\.json does not say with which/],
    ['a path', { plugin: 'scaled', options: { target_modules: '../../etc/passwd' }, withheld: [] }, /graft_adapter\.json gives an option of `scaled` that is a secret or a path, which only a config may/],
    ['a plugin that knows its own format, and not this', { plugin: 'lora', options: { r: 4 }, withheld: [] }, /no inject plugin knows what/],
    ['no plugin at all', { options: {}, withheld: [] }, /graft_adapter\.json does not say \{ "plugin": <name>, "options": \{ \.\.\. \}, "withheld": \[ \.\.\. \] \}/],
  ])('is refused where the folder names %s', async (_, origin, message) => {
    await expect(load('copy-0', copyOf('copy-0', origin))).rejects.toMatchObject({ status: 400, code: 'adapter_broken', message: expect.stringMatching(message) as string });
    expect((await client.models.list()).data.some(({ id }) => id === 'copy-0')).toBe(false);
  });

  it('is opened by graft generate and folded in by graft merge', async () => {
    const generate = (...args: string[]) => graft(['generate', ...args, '--engine', 'portable', '--prompt', 'who is a', '--max-tokens', '12'], { cwd: dir });
    const tuned = await generate(join(dir, 'tiny'), '--adapter', saved);
    expect(tuned).toMatchObject({ code: 0, stdout: `${answer}\n` });
    expect(await graft(['merge', saved, '--model', join(dir, 'tiny'), '--out', 'merged', '--engine', 'portable'], { cwd: dir })).toMatchObject({ code: 0, stderr: '' });
    expect((await generate(join(dir, 'merged'))).stdout).toBe(tuned.stdout);
    expect((await generate(saved)).stderr).toContain("is an adapter's folder");
  }, TIMEOUT);
});
