import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generate, type LoadedModel } from '../../core/index.ts';
import { loadFolder } from '../support/model.ts';
import { inject, strategyHost } from '../support/strategies.ts';
import { graft } from '../support/command.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { writeTinyModel } from '../support/tiny-run.ts';

const ADAPTERS = 10;
const PROMPT = 'the old man';
const MAX_TOKENS = 10;
const MIB = 2 ** 20;

let dir: string;
let base: LoadedModel;
let test: TestDaemon;
let client: OpenAI;
/** What each adapter answers when it alone is on the model; 'tiny' is the base. */
const alone = new Map<string, string>();

const nameOf = (i: number): string => `adapter/${i}`;

async function answerAlone(stack: string | undefined): Promise<string> {
  const ids: number[] = [];
  for await (const { id } of generate(base.model, { inputIds: base.tokenizer.encode(PROMPT), maxTokens: MAX_TOKENS, stopTokenIds: base.tokenizer.eosTokenIds, stack })) if (!base.tokenizer.eosTokenIds.includes(id)) ids.push(id);
  return base.tokenizer.decode([...base.tokenizer.encode(PROMPT), ...ids]).slice(PROMPT.length);
}

/** Posts to one of vLLM's routes, which the client does not know. */
const post = (path: string, body: unknown): Promise<unknown> => client.post(path, { body, maxRetries: 0 });

beforeAll(async () => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'graft-serving-')));
  writeTinyModel(join(dir, 'tiny'));
  const host = await strategyHost();
  base = await loadFolder(join(dir, 'tiny'));
  alone.set('tiny', await answerAlone(undefined));
  let bytes = 0;
  for (let i = 0; i < ADAPTERS; i++) {
    const graft = await inject({ ...host, call: { ...host.call, seed: 100 + i } }, base.model, nameOf(i), 'lora', { r: 4, lora_alpha: 32, init_lora_weights: false, target_modules: ['q_proj', 'v_proj', 'down_proj'] });
    bytes = graft.trainables.reduce((sum, { variable }) => sum + variable.size * 4, 0);
    alone.set(nameOf(i), await answerAlone(nameOf(i)));
    mkdirSync(join(dir, 'adapters', String(i)), { recursive: true });
    await graft.save(join(dir, 'adapters', String(i)));
    graft.remove();
  }
  mkdirSync(join(dir, 'adapters', 'corrupt'));
  cpSync(join(dir, 'adapters', '0', 'adapter_config.json'), join(dir, 'adapters', 'corrupt', 'adapter_config.json'));
  writeFileSync(join(dir, 'adapters', 'corrupt', 'adapter_model.safetensors'), 'not a tensor');
  mkdirSync(join(dir, 'outside'));
  symlinkSync(join(dir, 'outside'), join(dir, 'adapters', 'link'));
  // Room for two adapters and a half.
  test = await startDaemon({ models: [{ model: join(dir, 'tiny'), engine: 'portable', adapters_mb: (2.5 * bytes) / MIB, memory_mb: 2000 }], adapter_roots: [join(dir, 'adapters')] });
  client = new OpenAI({ baseURL: `${test.daemon().url}/v1`, apiKey: 'any', maxRetries: 0 });
});

afterAll(async () => {
  await test.close();
  base.model.dispose();
  rmSync(dir, { recursive: true });
});

async function ask(model: string): Promise<string> {
  const { choices } = await client.completions.create({ model, prompt: PROMPT, max_tokens: MAX_TOKENS, temperature: 0 });
  return choices[0]!.text;
}

describe('a daemon that serves', () => {
  it('answers as soon as the model is loaded, for the base and for what is loaded beside it', async () => {
    expect(await ask('tiny')).toBe(alone.get('tiny'));
    for (let i = 0; i < ADAPTERS; i++) await post('/load_lora_adapter', { lora_name: nameOf(i), lora_path: join(dir, 'adapters', String(i)) });
    const models = await client.models.list();
    expect(models.data.map(({ id }) => id)).toEqual(['tiny', ...Array.from({ length: ADAPTERS }, (_, i) => nameOf(i))]);
    expect(await client.models.retrieve(nameOf(3))).toMatchObject({ id: nameOf(3), parent: 'tiny' });
    expect(new Set(alone.values()).size).toBeGreaterThan(ADAPTERS / 2);
  });

  it('gives each of ten adapters its own answer through room for two, in one batch and in turn', async () => {
    const order = Array.from({ length: 3 * ADAPTERS }, (_, i) => nameOf((i * 7) % ADAPTERS));
    const answers = await Promise.all(order.map(ask));
    answers.forEach((answer, i) => expect(answer, order[i]).toBe(alone.get(order[i]!)));
    for (const name of order.slice(0, 5)) expect(await ask(name)).toBe(alone.get(name));
  });

  it('fails no good request among those for adapters that are missing or broken', async () => {
    const { adapters } = test.daemon();
    for (let i = 0; i < 25; i++) adapters.put({ name: `corrupt-${i}`, base: 'tiny', dir: join(dir, 'adapters', 'corrupt'), job: undefined, createdAt: Date.now() });
    const bad = Array.from({ length: 25 }, (_, i) => [`missing-${i}`, `corrupt-${i}`]).flat();
    const good = Array.from({ length: 50 }, (_, i) => (i % 3 === 0 ? 'tiny' : nameOf(i % ADAPTERS)));
    const results = await Promise.allSettled(good.flatMap((name, i) => [ask(name), ask(bad[i]!)]));
    for (const [i, result] of results.entries()) {
      if (i % 2 === 0) expect(result).toEqual({ status: 'fulfilled', value: alone.get(good[i / 2]!) });
      else {
        expect(result.status).toBe('rejected');
        const { status, code, headers } = (result as PromiseRejectedResult).reason as { status: number; code: string; headers: Headers };
        expect([status, code]).toEqual(bad[(i - 1) / 2]!.startsWith('missing') ? [404, 'model_not_found'] : [400, 'adapter_broken']);
        expect(headers.get('retry-after')).toBeNull();
      }
    }
    for (let i = 0; i < 25; i++) expect(test.daemon().models.unload(`corrupt-${i}`)).toBe(true);
  });

  it('loads from its roots alone, and tells what is wrong with an adapter', async () => {
    const load = (lora_name: string, path: string): Promise<unknown> => post('/load_lora_adapter', { lora_name, lora_path: path });
    await expect(load('x', join(dir, 'outside'))).rejects.toMatchObject({ status: 403, code: 'path_forbidden' });
    await expect(load('x', join(dir, 'adapters', '..', 'outside'))).rejects.toMatchObject({ status: 403 });
    await expect(load('x', join(dir, 'adapters', 'link'))).rejects.toMatchObject({ status: 403 });
    cpSync(join(dir, 'adapters', '0'), join(dir, 'adapters', 'linked'), { recursive: true });
    rmSync(join(dir, 'adapters', 'linked', 'adapter_model.safetensors'));
    symlinkSync(join(dir, 'tiny', 'model.safetensors'), join(dir, 'adapters', 'linked', 'adapter_model.safetensors'));
    await expect(load('x', join(dir, 'adapters', 'linked'))).rejects.toMatchObject({ status: 403, code: 'path_forbidden' });
    await expect(load('x', '/etc/nothing')).rejects.toMatchObject({ status: 403 });
    await expect(load('x', 'adapters/0')).rejects.toMatchObject({ status: 403 });
    await expect(load('x', join(dir, 'adapters', 'none'))).rejects.toMatchObject({ status: 404, code: 'adapter_missing' });
    await expect(load('x', join(dir, 'adapters', 'corrupt'))).rejects.toMatchObject({ status: 400, code: 'adapter_broken' });
    await expect(load(nameOf(0), join(dir, 'adapters', '0'))).rejects.toMatchObject({ status: 400, code: 'adapter_exists' });
    await expect(load('tiny', join(dir, 'adapters', '0'))).rejects.toMatchObject({ status: 400, code: 'adapter_exists' });
    expect((await client.models.list()).data.some(({ id }) => id === 'x')).toBe(false);
  });

  it('replaces and unloads adapters', async () => {
    await post('/load_lora_adapter', { lora_name: nameOf(0), lora_path: join(dir, 'adapters', '1'), load_inplace: true });
    expect(await ask(nameOf(0))).toBe(alone.get(nameOf(1)));
    await post('/unload_lora_adapter', { lora_name: nameOf(0) });
    await expect(ask(nameOf(0))).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
    await expect(post('/unload_lora_adapter', { lora_name: nameOf(0) })).rejects.toMatchObject({ status: 404 });
    expect(await client.models.delete(nameOf(1))).toMatchObject({ id: nameOf(1), deleted: true });
    await expect(client.models.delete('tiny')).rejects.toMatchObject({ status: 403 });
  });

  it('asks its own processes alone, whatever a request line says', async () => {
    const asked: string[] = [];
    const other = createServer((request, response) => {
      asked.push(request.url!);
      response.end('{}');
    }).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const { hostname, port: own, host } = new URL(test.daemon().url);
    const body = JSON.stringify({ model: 'tiny', prompt: PROMPT, max_tokens: MAX_TOKENS, temperature: 0 });
    const socket = connect(Number(own), hostname);
    socket.write(`POST http://127.0.0.1:${port}/v1/completions HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
    expect(answer).toContain(JSON.stringify(alone.get('tiny')));
    expect(asked).toEqual([]);
    other.close();
  });

  it('measures requests, tokens and adapters for Prometheus', async () => {
    const metrics = async (): Promise<string> => (await fetch(`${test.daemon().url}/metrics`)).text();
    // What the process has counted is told once a second.
    while (!/graft_adapters_loaded\{model="tiny"\} [12]\n/.test(await metrics())) await sleep(100);
    const measured = await metrics();
    expect(measured).toMatch(/graft_requests_total\{route="\/v1\/completions",model="tiny",status="200"\} \d{2,}/);
    expect(measured).toMatch(/graft_time_to_first_token_seconds_count\{model="tiny"\} \d{2,}/);
    expect(measured).toMatch(/graft_adapter_loads_total\{model="tiny",result="evictions"\} [1-9]/);
    expect(measured).toMatch(/graft_model_up\{model="tiny"\} 1/);
    for (const name of ['inter_token_latency_seconds', 'batch_sequences']) expect(measured).toMatch(new RegExp(`graft_${name}_count\\{model="tiny"\\} \\d{2,}`));
    expect(measured).toMatch(/graft_tokens_total\{model="tiny"\} \d{3,}/);
    expect(measured).toMatch(/graft_kv_cache_usage_ratio\{model="tiny"\} 0\.\d+/);
    expect(measured).toMatch(/graft_requests_total\{route="\/v1\/load_lora_adapter",model="",status="403"\} \d/);
    expect(measured).toMatch(/graft_model_restarts\{model="tiny"\} 0/);
    expect((await fetch(`${test.daemon().url}/ready`)).status).toBe(200);
  });

  it('is shown by graft ps below the jobs, with the processes that serve', async () => {
    const [process_] = test.daemon().models.processes;
    const ps = async (...args: string[]): Promise<string> => (await graft(['ps', ...args, '--state', join(test.dir, 'state')])).stdout;
    expect(await ps()).toMatch(new RegExp(`^There are no jobs\\.[^\\n]*\\n\\nmodel +state +adapters +memory +process\\ntiny +serving +[12] \\([\\d.]+ KiB\\) +[\\d.]+ [MG]iB of 2\\.0 GiB +${process_!.pid}\\n$`));
    const { jobs, models } = JSON.parse(await ps('--json')) as { jobs: unknown[]; models: unknown[] };
    expect(jobs).toEqual([]);
    expect(models).toEqual([{ id: 'tiny', state: 'serving', pid: process_!.pid, memoryBytes: expect.any(Number) as number, memoryMb: 2000, adapters: { loaded: expect.any(Number) as number, bytes: expect.any(Number) as number }, restarts: 0 }]);
  });

  it('starts the process again that has died, and answers with it', async () => {
    const [process_] = test.daemon().models.processes;
    const pid = process_!.pid!;
    // One that stands still takes the request, and does not answer it.
    process.kill(pid, 'SIGSTOP');
    const asked = ask('tiny').catch((error: unknown) => error);
    await sleep(300);
    process.kill(pid, 'SIGKILL');
    while (process_!.pid === pid || process_!.state !== 'restarting') await sleep(10);
    expect(process_!.reason).toContain('SIGKILL');
    // It may be why the process died, so that the next one is not asked.
    expect(await asked).toMatchObject({ status: 503, code: 'model_process_ended', headers: expect.toSatisfy((headers: Headers) => headers.get('x-should-retry') === 'false') as Headers });
    expect(await ask(nameOf(2))).toBe(alone.get(nameOf(2)));
    expect(process_!.restarts).toBe(1);
  });
});
