import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { RunConfig } from '../../core/config/index.ts';
import { readRunRecord, RunDirectory } from '../../core/run/run-directory.ts';

describe('a run directory', () => {
  let base: string;
  const config = (runsDir: string): RunConfig => ({ name: 'lora', file: join(base, 'lora.yaml'), seed: 7, runsDir, resolved: { name: 'lora', load: { use: 'llama', model: '/models/tiny' } } }) as unknown as RunConfig;
  beforeEach(async () => { base = await mkdtemp(join(tmpdir(), 'graft-runs-')); });
  afterEach(() => rm(base, { recursive: true, force: true }));

  it('is named by the run, the time and a short id, and holds the config as it was resolved', async () => {
    const directory = await RunDirectory.create(config(join(base, 'deep/runs')));
    expect(directory.record.id).toMatch(/^lora-\d{8}-\d{6}-[0-9a-f]{6}$/);
    expect(directory.dir).toBe(join(base, 'deep/runs', directory.record.id));
    expect(parse(await readFile(join(directory.dir, 'config.yaml'), 'utf8'))).toEqual({ name: 'lora', load: { use: 'llama', model: '/models/tiny' } });
    expect(await readRunRecord(directory.dir)).toMatchObject({ status: 'running', seed: 7, configFile: join(base, 'lora.yaml'), generations: {} });
    directory.release();
  });

  it('is written by one process at a time', async () => {
    const directory = await RunDirectory.create(config(base));
    await expect(RunDirectory.open(directory.dir)).rejects.toMatchObject({ code: 'RUN_LOCKED' });
    directory.release();
    (await RunDirectory.open(directory.dir)).release();
  });

  it('keeps what it knows over a restart, and loses the leftovers of a killed write', async () => {
    const first = await RunDirectory.create(config(base));
    await first.update({ status: 'cancelled', reason: 'It was stopped after step 3.' });
    first.release();
    await writeFile(join(first.dir, 'run.json.4711.tmp'), '{"for');
    const second = await RunDirectory.open(first.dir);
    expect(second.record).toEqual(first.record);
    expect((await readdir(first.dir)).sort()).toEqual(['config.yaml', 'run.json', 'run.lock']);
    second.release();
  });

  it.each([
    ['there is no such folder', async () => 'absent'],
    ['it has no run.json and config.yaml', async () => '.'],
    ['its run.json has format 99, and this version reads 1', async () => { await writeFile(join(base, 'run.json'), '{"format":99}'); await writeFile(join(base, 'config.yaml'), ''); return '.'; }],
    ['its run.json cannot be read (', async () => { await writeFile(join(base, 'run.json'), '{'); await writeFile(join(base, 'config.yaml'), ''); return '.'; }],
  ])('is refused where %s', async (reason, prepare) => {
    const dir = join(base, await prepare());
    await expect(RunDirectory.open(dir)).rejects.toMatchObject({ code: 'NOT_A_RUN', message: expect.stringContaining(`${dir} is not a run directory: ${reason}`) });
  });

  it('says why it cannot be made', async () => {
    await writeFile(join(base, 'file'), '');
    await expect(RunDirectory.create(config(join(base, 'file/runs')))).rejects.toMatchObject({ code: 'RUN_DIRECTORY', hint: 'Set runs_dir to a folder that can be written.' });
  });
});
