import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Logger } from '../../core/contracts/index.ts';
import { Systemd } from '../../core/host/sd-notify.ts';

let dir: string;
let complaints: string[];
let readable: boolean;
let status: string;
let log: Logger;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'systemd-'));
  [complaints, readable, status] = [[], true, '0 runs'];
  log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: (message) => void complaints.push(message), child: () => log };
  // Stands for systemd's program: writes down what it is given, and for whom.
  const program = join(dir, 'systemd-notify');
  writeFileSync(program, `#!${process.execPath}\nrequire('node:fs').appendFileSync(${JSON.stringify(join(dir, 'told'))}, JSON.stringify([process.env.NOTIFY_SOCKET, ...process.argv.slice(2)]) + '\\n');\n`);
  chmodSync(program, 0o755);
});
afterEach(() => rmSync(dir, { recursive: true }));

function systemd(env: NodeJS.ProcessEnv): Systemd | undefined {
  return Systemd.of({ log, env, status: async () => (readable ? status : Promise.reject(new Error('damaged'))) });
}

const path = (): string => `${dir}:${dirname(process.execPath)}`;
const told = (): string[][] => (existsSync(join(dir, 'told')) ? readFileSync(join(dir, 'told'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as string[]) : []);
const beats = (): number => told().filter((line) => line.includes('WATCHDOG=1')).length;

describe('systemd', () => {
  it('is told when the host listens, how it stands, and when it ends', async () => {
    const notified = systemd({ PATH: path(), NOTIFY_SOCKET: '/run/notify' })!;
    await notified.ready();
    await notified.stopping();
    await notified.close();
    expect(told()).toEqual([
      ['/run/notify', 'READY=1'],
      ['/run/notify', 'STATUS=0 runs'],
      ['/run/notify', 'STOPPING=1', 'STATUS=Ending: runs checkpoint.'],
    ]);
    expect(complaints).toEqual([]);
  });

  it('is told that the host lives for as long as its database can be read', async () => {
    const notified = systemd({ PATH: path(), NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '20000', WATCHDOG_PID: String(process.pid) })!;
    await notified.ready();
    await vi.waitFor(() => expect(beats()).toBeGreaterThan(2), { timeout: 60_000 });
    readable = false;
    await vi.waitFor(() => expect(complaints.length).toBeGreaterThan(2), { timeout: 60_000 });
    const before = beats();
    const complained = complaints.length;
    await vi.waitFor(() => expect(complaints.length).toBeGreaterThan(complained + 2), { timeout: 60_000 });
    expect(beats()).toBe(before);
    expect(complaints[0]).toBe("The database can't be read, so systemd is not told that the host lives: damaged");
    [readable, status] = [true, '1 run'];
    await vi.waitFor(() => expect(told()).toContainEqual(['/run/notify', 'WATCHDOG=1', 'STATUS=1 run']), { timeout: 60_000 });
    await notified.close();
  }, 300_000);

  it("hears no beats that are another process's to give", async () => {
    const notified = systemd({ PATH: path(), NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '1000000', WATCHDOG_PID: String(process.pid + 1) })!;
    await notified.ready();
    await notified.close();
    expect(beats()).toBe(0);
  });

  it('is not spoken to where it does not listen, nor by the processes of runs', () => {
    expect(systemd({ PATH: path() })).toBeUndefined();
    const env: NodeJS.ProcessEnv = { PATH: path(), NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '1000000', WATCHDOG_PID: '1' };
    expect(systemd(env)).toBeDefined();
    expect(env).toEqual({ PATH: path() });
  });

  it('is missing its program: said once, and the host goes on', async () => {
    const notified = systemd({ PATH: join(dir, 'nothing'), NOTIFY_SOCKET: '/run/notify' })!;
    await notified.ready();
    await notified.stopping();
    await notified.close();
    expect(complaints).toHaveLength(1);
    expect(complaints[0]).toContain('its program systemd-notify is not on the PATH');
  });
});
