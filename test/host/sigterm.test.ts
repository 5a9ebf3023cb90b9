import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startGraft, type RunningCommand } from '../support/command.ts';
import { writeTinyModel } from '../support/tiny-run.ts';

let dir: string;
let daemon: RunningCommand;
let url: string;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'graft-sigterm-'));
  writeTinyModel(join(dir, 'tiny'));
  writeFileSync(join(dir, 'daemon.yaml'), 'state_dir: ./state\nport: 0\nmodels: [{ model: ./tiny, engine: portable }]\n');
  daemon = startGraft(['daemon', '--config', join(dir, 'daemon.yaml')]);
  url = (await daemon.seen(/listens on (http:\S+);/))[1]!;
  await daemon.seen(/The model tiny is served/);
});
afterEach(async () => {
  daemon.process.kill('SIGKILL');
  await daemon.ended;
  rmSync(dir, { recursive: true });
});

/** The process that serves. */
function server(): number {
  const parentOf = (pid: string): string | undefined => /^\d+ \(.*\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
  return Number(
    readdirSync('/proc').find((pid) => {
      try {
        return /^\d+$/.test(pid) && parentOf(pid) === String(daemon.process.pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('entry.mjs');
      } catch {
        return false;
      }
    }),
  );
}

const complete = (): Promise<Response> =>
  fetch(`${url}/v1/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model: 'tiny', prompt: 'the old man', max_tokens: 60, n: 16, stream: true }) });

/** A stream whose process stands still once it has begun. */
async function held(): Promise<{ readonly first: string; rest(): Promise<string> }> {
  const reader = (await complete()).body!.pipeThrough(new TextDecoderStream()).getReader();
  const { value = '' } = await reader.read();
  process.kill(server(), 'SIGSTOP');
  return {
    first: value,
    rest: async () => {
      let text = '';
      for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
      return text;
    },
  };
}

describe.runIf(process.platform === 'linux')('a daemon that is told to end', () => {
  it('is not ready, takes nothing more, finishes its streams, and ends', async () => {
    const pid = server();
    const stream = await held();
    expect(stream.first).toContain('data: ');
    daemon.process.kill('SIGTERM');
    await daemon.seen(/SIGTERM: nothing more is started/);
    const ready = await fetch(`${url}/ready`);
    expect([ready.status, await ready.json()]).toEqual([503, { ready: false, reason: 'draining' }]);
    const refused = await complete();
    expect([refused.status, await refused.json()]).toEqual([503, { error: expect.objectContaining({ code: 'shutting_down' }) as unknown }]);
    process.kill(pid, 'SIGCONT');
    expect(await stream.rest()).toMatch(/data: \[DONE\]\n\n$/);
    expect(await daemon.ended).toMatchObject({ code: 0 });
  }, 120_000);

  it('ends at once when it is told twice', async () => {
    const pid = server();
    await held();
    daemon.process.kill('SIGTERM');
    await daemon.seen(/SIGTERM: nothing more is started/);
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 1 });
    process.kill(pid, 'SIGKILL');
  }, 120_000);
});
