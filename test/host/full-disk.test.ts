import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DaemonClient } from '../../core/host/client.ts';
import type { DescribedJob } from '../../core/host/described-job.ts';
import { FullDisk } from '../../core/host/full-disk.ts';
import { CheckpointFolder } from '../../core/run/checkpoints.ts';
import { EventLog } from '../../core/run/events.ts';
import { startDaemon } from '../support/daemon.ts';
import { writeTinyModel, writeTinyRun } from '../support/tiny-run.ts';

const NO_MOUNT = 'A disk that is really full is a tmpfs, and only root may mount one.';

let home: string;
let disk: string;
let mounted: boolean;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'graft-full-'));
  disk = join(home, 'disk');
  mkdirSync(disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk], { stdio: 'ignore' });
    mounted = true;
  } catch {
    mounted = false;
  }
});
afterEach(() => {
  if (mounted) execFileSync('umount', ['--lazy', disk]);
  rmSync(home, { recursive: true, force: true });
});

/** Writes until nothing fits any more. */
function fill(name = 'filler'): void {
  const file = openSync(join(disk, name), 'a');
  try {
    for (const size of [65_536, 4096, 1]) {
      try {
        for (;;) writeSync(file, Buffer.alloc(size));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(file);
  }
}

describe('a full disk', () => {
  it('pauses a run, which keeps its last checkpoint and goes on by itself once there is space; reads go on', async (test) => {
    if (!mounted) return test.skip(NO_MOUNT);
    const config = writeTinyRun(home, { train: { epochs: undefined, max_steps: 20_000, save_steps: 5, eval_steps: 10_000 }, extra: { runs_dir: './disk/runs' } });
    const host = await startDaemon({ state_dir: join(disk, 'state') });
    try {
      const client = DaemonClient.find(join(disk, 'state'));
      const [{ id }] = (await client.submit({ config })) as [DescribedJob];
      await host.untilStep(id, 12);
      fill();
      // Until it is told, which needs no space.
      let job = (await client.get(id)).job;
      for (; job.state === 'running'; job = (await client.list())[0]!) await sleep(100);
      expect(job).toMatchObject({ id, state: 'paused', code: 'DISK_FULL', reason: expect.stringMatching(/^The disk is full: .*Its last checkpoint is kept, and it goes on from there by itself once there is space\.$/) as string });
      expect((await fetch(`${host.daemon().url}/health`)).status).toBe(200);
      const ready = await fetch(`${host.daemon().url}/ready`);
      expect(ready.status).toBe(503);
      expect(await ready.json()).toMatchObject({ ready: false, reason: expect.stringMatching(/^(disk|database): /) as string });
      expect((await fetch(`${host.daemon().url}/metrics`)).status).toBe(200);
      const kept = await new CheckpointFolder(join(job.dir!, 'checkpoints')).latest();
      expect(kept!.step).toBeGreaterThanOrEqual(5);
      rmSync(join(disk, 'filler'));
      await host.untilAtLast(id, 'running');
      await host.untilStep(id, kept!.step + 50);
      expect((await client.get(id)).attempts).toHaveLength(2);
      await host.daemon().act('cancel', id);
      await host.until(id, 'cancelled');
      // What was told meanwhile is there: no step is missing.
      const steps = host.losses(id);
      expect(steps).toHaveLength(host.daemon().runs.standing(id)!.step);
    } finally {
      await host.close();
    }
  }, 600_000);

  it('is no reason any more to go on with a run that somebody has paused since', async (test) => {
    if (!mounted) return test.skip(NO_MOUNT);
    const config = writeTinyRun(home, { train: { epochs: undefined, max_steps: 20_000, save_steps: 5, eval_steps: 10_000 }, extra: { runs_dir: './disk/runs' } });
    const host = await startDaemon();
    try {
      const [{ id }] = (await host.daemon().submit({ config })) as [DescribedJob];
      await host.untilStep(id, 12);
      fill();
      expect(await host.until(id, 'paused')).toMatchObject({ code: 'DISK_FULL' });
      expect(await DaemonClient.find(join(host.dir, 'state')).act('pause', id)).toMatchObject({ state: 'paused', reason: 'It was paused.' });
      rmSync(join(disk, 'filler'));
      await sleep(5000);
      expect(await host.until(id, 'paused')).toMatchObject({ reason: 'It was paused.' });
      await host.daemon().act('resume', id);
      await host.until(id, 'running');
    } finally {
      await host.close();
    }
  }, 600_000);

  it('refuses uploads and jobs with 507, which clients do not send again, and keeps nothing of them', async (test) => {
    if (!mounted) return test.skip(NO_MOUNT);
    writeTinyModel(join(home, 'tiny'));
    const host = await startDaemon({ state_dir: join(disk, 'state'), models: [{ model: join(home, 'tiny'), serve: false }] });
    try {
      const client = new OpenAI({ baseURL: `${host.daemon().url}/v1`, apiKey: 'any' });
      const rows = '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'.repeat(1000);
      const upload = async (text = rows): Promise<OpenAI.FileObject> => client.files.create({ file: await toFile(Buffer.from(text), 'a.jsonl'), purpose: 'fine-tune' });
      const kept = await upload();
      fill();
      const full = { status: 507, code: 'disk_full', headers: expect.toSatisfy((headers: Headers) => headers.get('x-should-retry') === 'false') as Headers };
      for (const text of [rows, rows.repeat(20)]) await expect(upload(text)).rejects.toMatchObject(full);
      await expect(client.fineTuning.jobs.create({ model: 'tiny', training_file: kept.id })).rejects.toMatchObject(full);
      expect((await client.files.list()).data).toEqual([kept]);
      expect(await (await client.files.content(kept.id)).text()).toBe(rows);
      expect((await client.fineTuning.jobs.list()).data).toEqual([]);
      expect(await host.daemon().queue.list()).toEqual([]);
      rmSync(join(disk, 'filler'));
      expect(await upload()).toMatchObject({ bytes: rows.length });
    } finally {
      await host.close();
    }
  });

  it('stops a run that can not write its record, and what a step told is whole or not there', (test) => {
    if (!mounted) return test.skip(NO_MOUNT);
    const log = new EventLog(join(disk, 'events.jsonl'));
    log.receive({ type: 'log', level: 'info', message: 'before' });
    const bytes = log.sync();
    fill();
    expect(() => {
      for (;;) log.receive({ type: 'log', level: 'info', message: 'x'.repeat(1000) });
    }).toThrow('ENOSPC');
    expect(() => log.check()).toThrow('ENOSPC');
    expect(() => log.sync()).toThrow('ENOSPC');
    log.close();
    rmSync(join(disk, 'filler'));
    const again = new EventLog(join(disk, 'events.jsonl'), bytes);
    expect(again.sync()).toBe(bytes);
    again.close();
  });

  it('has room for a job again when more is free than was not enough, and each time a little more', async (test) => {
    if (!mounted) return test.skip(NO_MOUNT);
    const full = new FullDisk([disk, home]);
    const free = (megabytes: number): void => {
      for (const name of ['filler', 'rest']) rmSync(join(disk, name), { force: true });
      const file = openSync(join(disk, 'rest'), 'w');
      writeSync(file, Buffer.alloc((6 - megabytes) * 2 ** 20 - 8192));
      closeSync(file);
    };
    fill();
    await full.paused('a', join(disk, 'not', 'there', 'yet'));
    expect(await full.hasRoom('a', undefined)).toBe(false);
    free(0.5);
    expect(await full.hasRoom('a', undefined)).toBe(false);
    free(1.1);
    expect(await full.hasRoom('a', undefined)).toBe(true);
    await full.paused('a', undefined);
    free(2.1);
    expect(await full.hasRoom('a', undefined)).toBe(false);
    free(4);
    expect(await full.hasRoom('a', undefined)).toBe(true);
    full.forget('a');
    expect(await full.hasRoom('a', undefined)).toBe(true);
    expect(existsSync(join(disk, 'not'))).toBe(false);
  });
});
