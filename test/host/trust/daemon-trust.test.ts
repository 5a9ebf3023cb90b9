import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import OpenAI, { toFile } from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DaemonClient } from '../../../core/host/client.ts';
import { startDaemon, type TestDaemon } from '../../support/daemon.ts';
import { writeTinyRun } from '../../support/tiny-run.ts';

const IDLE = 1000;

let test: TestDaemon;
let admin: DaemonClient;

/** What the daemon answers to a request with just these headers. */
async function ask(path: string, headers: Readonly<Record<string, string>> = {}, method = 'GET'): Promise<{ readonly status: number; readonly headers: Readonly<Record<string, unknown>>; readonly body: string }> {
  const out = httpRequest(`${test.daemon().url}${path}`, { method, headers, agent: false }).end();
  const [incoming] = (await once(out, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of incoming) body += String(chunk);
  return { status: incoming.statusCode!, headers: incoming.headers, body };
}

const as = (apiKey: string): OpenAI => new OpenAI({ baseURL: `${test.daemon().url}/v1`, apiKey, maxRetries: 0 });

function raw(): Socket {
  const { hostname, port } = new URL(test.daemon().url);
  return connect(Number(port), hostname).on('error', () => undefined);
}

async function readAll(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

beforeAll(async () => {
  test = await startDaemon({ http: { allowed_hosts: ['graft.example'], allowed_origins: ['https://chat.example'] } });
  admin = DaemonClient.find(join(test.dir, 'state'));
});
afterEach(async () => {
  for (const { name } of await admin.keys()) await admin.revokeKey(name);
});
afterAll(() => test.close());

describe('a daemon without keys', () => {
  it('is open to local programs, and to no page whose name was made to point here', async () => {
    expect((await ask('/v1/models')).status).toBe(200);
    expect((await ask('/v1/models', { host: 'graft.example' })).status).toBe(200);
    const refused = await ask('/v1/models', { host: `evil.example:${new URL(test.daemon().url).port}` });
    expect(refused.status).toBe(421);
    expect(refused.headers['x-request-id']).toMatch(/^req_/);
    expect(JSON.parse(refused.body)).toMatchObject({ error: { type: 'permission_error', param: null, code: 'host_forbidden' } });
    for (const path of ['/v1/files', '/v1/fine_tuning/jobs', '/%761/models', '/v1/nothing']) expect((await ask(path, { host: 'evil.example' })).status).toBe(421);
  });

  it('tells no such page how it is, either', async () => {
    for (const path of ['/health', '/ready', '/metrics']) {
      expect((await ask(path)).status).toBe(200);
      expect((await ask(path, { host: 'graft.example' })).status).toBe(200);
      const refused = await ask(path, { host: `evil.example:${new URL(test.daemon().url).port}` });
      expect(refused.status).toBe(421);
      expect(JSON.parse(refused.body)).toMatchObject({ error: { code: 'HOST_FORBIDDEN' } });
      expect((await ask(path, { origin: 'https://evil.example' })).status).toBe(403);
    }
  });

  it('answers pages of this machine and of allowed sites, and no others', async () => {
    const asked = await ask('/v1/chat/completions', { origin: 'https://chat.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,x-stainless-lang' }, 'OPTIONS');
    expect(asked).toMatchObject({ status: 204, headers: { 'access-control-allow-origin': 'https://chat.example', 'access-control-allow-headers': 'authorization,x-stainless-lang' } });
    expect(await ask('/v1/models', { origin: 'http://localhost:3000' })).toMatchObject({ status: 200, headers: { 'access-control-allow-origin': 'http://localhost:3000', vary: 'origin' } });
    for (const origin of ['https://evil.example', 'null']) {
      const refused = await ask('/v1/models', { origin });
      expect(refused.status).toBe(403);
      expect(refused.headers['access-control-allow-origin']).toBeUndefined();
    }
  });

  it('keeps its own commands closed all the same', async () => {
    for (const path of ['/graft/v1/keys', '/graft/v1/jobs', '/%67raft/v1/keys']) expect((await ask(path)).status).toBe(401);
    expect((await ask('/graft/v1/keys', { authorization: 'Bearer wrong' })).status).toBe(401);
  });
});

describe('a daemon with a key', () => {
  it('needs one for every request, with the scope that it takes', async () => {
    const [infer, train, all] = (await Promise.all((['infer', 'train', 'admin'] as const).map((scope) => admin.addKey(scope, [scope])))).map(({ secret }) => as(secret));
    expect((await ask('/v1/models')).status).toBe(401);
    expect((await ask('/v1/nothing')).status).toBe(401);
    await expect(as('graft_sk_wrong').models.list()).rejects.toMatchObject({ status: 401, type: 'authentication_error', code: 'invalid_api_key' });
    expect((await infer!.models.list()).data).toEqual([]);
    await expect(infer!.files.list()).rejects.toMatchObject({ status: 403, type: 'permission_error', code: 'scope_missing', message: expect.stringContaining('The key infer is for infer, and this takes one for train.') as string });
    await expect(infer!.models.delete('x')).rejects.toMatchObject({ status: 403 });
    expect((await train!.files.list()).data).toEqual([]);
    await expect(train!.models.list()).rejects.toMatchObject({ status: 403 });
    await expect(train!.post('/load_lora_adapter', { body: { lora_name: 'a', lora_path: '/a' } })).rejects.toMatchObject({ status: 403 });
    await expect(all!.post('/load_lora_adapter', { body: { lora_name: 'a', lora_path: '/a' } })).rejects.toMatchObject({ code: 'path_forbidden' });
    await expect(all!.models.delete('x')).rejects.toMatchObject({ status: 404 });
    expect((await all!.fineTuning.jobs.list()).data).toEqual([]);
    await expect(train!.get('/nothing')).rejects.toMatchObject({ status: 404, code: 'unknown_url' });
  });

  it("takes a key for everything where its own commands' token is taken, and no other", async () => {
    const [all, train] = [await admin.addKey('all', ['admin']), await admin.addKey('train', ['train'])];
    expect((await ask('/graft/v1/jobs', { authorization: `Bearer ${all.secret}` })).status).toBe(200);
    expect((await ask('/graft/v1/jobs', { authorization: `Bearer ${train.secret}` })).status).toBe(403);
  });

  it('refuses a key from the moment that it is revoked', async () => {
    const [{ secret }] = [await admin.addKey('gone', ['infer']), await admin.addKey('stays', ['infer'])];
    await as(secret).models.list();
    await admin.revokeKey('gone');
    await expect(as(secret).models.list()).rejects.toMatchObject({ status: 401 });
  });

  it('takes it from any address, for whoever brings it is no page', async () => {
    const { secret } = await admin.addKey('proxy', ['infer']);
    for (const path of ['/health', '/metrics']) expect((await ask(path, { host: 'anything.example' })).status).toBe(200);
    expect((await ask('/v1/models', { host: 'anything.example', authorization: `Bearer ${secret}` })).status).toBe(200);
  });
});

it('is refused with too many headers, or where it sends no HTTP, in the form of an answer', async () => {
  const [large, other] = [raw(), raw()];
  large.write(`GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-large: ${'a'.repeat(20_000)}\r\n\r\n`);
  other.write('\u0016\u0003\u0001 hello\r\n\r\n');
  expect(await readAll(large)).toMatch(/^HTTP\/1\.1 431 [\s\S]*x-request-id: req_[\s\S]*headers_too_large/);
  expect(await readAll(other)).toMatch(/^HTTP\/1\.1 400 /);
  expect((await ask('/v1/models')).status).toBe(200);
});

it(`answers others while ${IDLE} idle clients wait for events, and lets go of them when it ends`, async () => {
  // More memory than there is, so that it waits for as long as the test does.
  const config = writeTinyRun(join(test.dir, 'idle'));
  const [job] = await test.daemon().submit({ config, resources: { memory_mb: 1e9 } });
  const { token } = JSON.parse(readFileSync(join(test.dir, 'state', 'daemon.json'), 'utf8')) as { readonly token: string };
  const opened = await Promise.all(
    Array.from({ length: IDLE }, async () => {
      const socket = raw();
      socket.write(`GET /graft/v1/jobs/${job!.id}/events?follow=1 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${token}\r\n\r\n`);
      await once(socket, 'data');
      return socket;
    }),
  );
  for (let i = 0; i < 50; i++) expect((await ask('/v1/models')).status).toBe(200);
  expect((await as('any').files.create({ file: await toFile(Buffer.from('{}\n'), 'a.jsonl'), purpose: 'fine-tune' })).bytes).toBe(3);
  expect(opened.filter((socket) => socket.destroyed)).toEqual([]);
  // Half of them go by themselves; the others are let go.
  opened.slice(IDLE / 2).forEach((socket) => socket.destroy());
  const ended = Promise.all(opened.slice(0, IDLE / 2).map((socket) => once(socket.resume(), 'close')));
  await test.restart();
  await ended;
  admin = DaemonClient.find(join(test.dir, 'state'));
});

