import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { checkOptions } from '../../../core/config/options.ts';
import { daemonSchema, type DaemonConfig } from '../../../core/host/daemon-config.ts';
import { Daemon } from '../../../core/host/daemon.ts';
import { HostState } from '../../../core/host/state.ts';
import { stderrLogger } from '../../../core/host/stderr-log.ts';
import { ApiKeys } from '../../../core/host/trust/api-keys.ts';

const dir = mkdtempSync(join(tmpdir(), 'graft-exposed-'));
const config = checkOptions(daemonSchema, { state_dir: dir, host: '0.0.0.0', port: 0, http: { headers_seconds: 2, request_seconds: 2, upload_seconds: 4 } }, 'a daemon config') as DaemonConfig;
let daemon: Daemon;
let secret: string;
let port: number;

const models = async (headers: Record<string, string> = {}): Promise<number> => (await fetch(`http://127.0.0.1:${port}/v1/models`, { headers })).status;

/** Sends the beginning of a request, and then a little every now and then; resolves with what it is told when it is cut off. */
async function trickle(begin: string, more: string): Promise<string> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  socket.write(begin);
  const drip = setInterval(() => socket.write(more), 50);
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  clearInterval(drip);
  return text;
}

beforeAll(async () => {
  await expect(Daemon.start(config, stderrLogger('error'))).rejects.toMatchObject({ code: 'HOST_UNPROTECTED', message: expect.stringContaining('0.0.0.0 can be reached by other machines') as string });
  const state = HostState.open(dir);
  secret = new ApiKeys(state.database).add('first', ['infer']).secret;
  state.close();
  daemon = await Daemon.start(config, stderrLogger('error'));
  port = Number(new URL(daemon.url).port);
});
afterAll(async () => {
  await daemon.stop();
  rmSync(dir, { recursive: true });
});

it('cuts off whoever sends headers or an upload too slowly, and nobody else notices', async () => {
  const head = `host: localhost\r\nauthorization: Bearer ${secret}\r\n`;
  const part = '--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n';
  const { secret: train } = daemon.keys.add('train', ['train']);
  const slow = trickle(`GET /v1/models HTTP/1.1\r\n${head}`, 'x-slow: 1\r\n');
  const upload = trickle(
    `POST /v1/files HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${train}\r\ncontent-type: multipart/form-data; boundary=b\r\ntransfer-encoding: chunked\r\n\r\n${part.length.toString(16)}\r\n${part}\r\n`,
    '3\r\n{}\n\r\n',
  );
  const asked = performance.now();
  const body = trickle(`POST /v1/completions HTTP/1.1\r\n${head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n`, '1\r\n \r\n').then((text) => ({ text, ms: performance.now() - asked }));
  const uploaded = upload.then((text) => ({ text, ms: performance.now() - asked }));
  expect(await models({ authorization: `Bearer ${secret}` })).toBe(200);
  expect(await slow).toMatch(/^HTTP\/1\.1 408 [\s\S]*x-request-id: req_[\s\S]*"code":"request_timeout"/);
  const [short, long] = await Promise.all([body, uploaded]);
  for (const { text } of [short, long]) expect(text).toMatch(/^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/);
  // An upload is waited for longer than any other request.
  expect(long.ms).toBeGreaterThan(short.ms);
  while (readdirSync(join(dir, 'files')).length > 0) await sleep(20);
  expect(daemon.files.list()).toEqual([]);
});

it('refuses everybody where other machines can come and the last key is gone', async () => {
  expect(await models({ authorization: `Bearer ${secret}` })).toBe(200);
  for (const { name } of daemon.keys.list()) daemon.keys.revoke(name);
  expect(await models()).toBe(401);
  expect(await models({ authorization: `Bearer ${secret}` })).toBe(401);
});
