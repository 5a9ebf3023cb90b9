import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Logger, ServedModels } from '../../core/index.ts';
import { openHost, type Host } from '../../core/host/open-host.ts';
import { HotServer } from '../../core/serving/servers.ts';
import { quietLog } from '../support/strategies.ts';

let dir: string;
let host: Host;
let logged: string[];
let announced: string[];

/** The code of a server that answers with a text. */
const serverOf = (text: string, first = ''): string => `
import { createServer } from 'node:http';
import { definePlugin, Type } from 'graft';
export default definePlugin({
  stage: 'serve',
  config: Type.Object({ port: Type.Integer() }),
  setup: () => ({
    async serve({ config }) {
      const server = createServer((_, response) => response.end('${text}'));
      ${first}
      await new Promise((resolve, reject) => server.once('error', reject).listen(config.port, '127.0.0.1', resolve));
      return { url: 'http://127.0.0.1:' + server.address().port, close: () => new Promise((resolve) => server.close(resolve)) };
    },
  }),
});
`;
const write = (code: string): void => writeFileSync(join(dir, 'serve-said/index.ts'), code);
const said = async (url: string): Promise<string> => (await fetch(url, { headers: { connection: 'close' } })).text();
const start = (port: number, startMs?: number): Promise<HotServer> =>
  HotServer.start({ kernel: host.kernel, log: host.log, models: {} as ServedModels, call: ({ options }) => ({ config: options }) as never, placed: (_, error) => error, ...(startMs === undefined ? {} : { startMs }) }, { use: 'said', options: { port }, path: [] } as never, (url) => void announced.push(url));
const until = async (true_: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await true_())) await sleep(10);
};

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'graft-servers-'));
  [logged, announced] = [[], []];
  mkdirSync(join(dir, 'serve-said'));
  writeFileSync(join(dir, 'serve-said/package.json'), JSON.stringify({ name: 'said', version: '0.1.0', type: 'module', main: './index.ts', graft: { api: '^1.0.0', stage: 'serve', name: 'said' } }));
  write(serverOf('one'));
  const log: Logger = { ...quietLog, error: (message) => void logged.push(message) };
  host = await openHost({ pluginDirs: [dir], watch: true, log });
});
afterEach(async () => {
  await host.dispose();
  rmSync(dir, { recursive: true });
});

it('takes over a port when its plugin is edited, and goes on where the edit can not start', async () => {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const server = await start(port);
  expect(await said(server.url)).toBe('one');
  write(serverOf('two'));
  await until(() => announced.length === 2);
  expect([server.url, await said(server.url)]).toEqual([`http://127.0.0.1:${port}`, 'two']);
  write(serverOf('three', `throw new Error('no place for me');`));
  await until(() => announced.length === 3);
  expect(logged).toEqual([expect.stringContaining("The new generation of serve:said can't start, so the one before goes on: no place for me") as string]);
  expect(await said(server.url)).toBe('two');
  await server.close();
});

it('gives up a server that never starts, closes it where it does at last, and takes the next', async () => {
  const server = await start(0, 300);
  const before = server.url;
  write(serverOf('two', `await new Promise((resolve) => (globalThis.letStart = resolve)); server.once('listening', () => (globalThis.lateUrl = 'http://127.0.0.1:' + server.address().port));`));
  await until(() => logged.length === 1);
  expect(logged[0]).toBe("The new generation of serve:said can't start, so the one before goes on: serve:said did not start within 0.3 s.");
  expect([server.url, await said(before)]).toEqual([before, 'one']);
  const late = globalThis as unknown as { letStart: () => void; lateUrl?: string };
  late.letStart();
  await until(async () => late.lateUrl !== undefined && (await said(late.lateUrl).then(() => false, () => true)));
  write(serverOf('three'));
  await until(() => announced.length === 2);
  expect(await said(server.url)).toBe('three');
  await until(() => said(before).then(() => false, () => true));
  await server.close();
});
