import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { checkOptions } from '../../core/config/options.ts';
import type { Job, Logger, Queue, QueueProvider } from '../../core/contracts/index.ts';
import { Checks } from '../../core/host/check-process.ts';
import { ConfigFolders, type WatchedConfig } from '../../core/host/config-folders.ts';
import { daemonSchema, type DaemonConfig } from '../../core/host/daemon-config.ts';
import { openHost, type Host } from '../../core/host/open-host.ts';
import { SqliteDatabase } from '../../core/host/sqlite.ts';
import { Submissions } from '../../core/host/submissions.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

const told: string[] = [];
const tell = (message: string): void => void told.push(message);
const log: Logger = { debug: () => undefined, info: tell, warn: tell, error: tell, child: () => log };

describe('a watched folder of configs', () => {
  let host: Host;
  let home: string;
  let dir: string;
  let database: SqliteDatabase;
  let queue: Queue;
  let folders: ConfigFolders;
  beforeAll(async () => void (host = await openHost({ log })));
  afterAll(() => host.dispose());

  const open = async (): Promise<void> => {
    database = new SqliteDatabase(join(home, 'graft.db'));
    queue = await host.kernel.leaseToken<QueueProvider>('queue:sqlite').value.open({ database, log });
    const config = checkOptions(daemonSchema, {}, 'a daemon config') as DaemonConfig;
    const capacity = { cpu: 2, memory_mb: 4000, gpu_memory_mb: 0 };
    const submissions = new Submissions({ queue, kernel: host.kernel, config, capacity, checks: new Checks([], 60_000), dir: join(home, 'submitted') });
    folders = new ConfigFolders({ dirs: [dir], submissions, queue, database, log, queued: () => undefined });
    await folders.start();
    await folders.look();
  };
  const close = async (): Promise<void> => {
    await folders.close();
    database.close();
  };
  beforeEach(async () => {
    told.length = 0;
    home = mkdtempSync(join(tmpdir(), 'graft-folders-'));
    dir = join(home, 'experiments');
    mkdirSync(join(home, 'submitted'));
    mkdirSync(dir);
    writeTinyRun(dir);
    writeFileSync(join(dir, 'base.yaml'), readFileSync(join(dir, 'config.yaml'), 'utf8').replace('load:', 'loading:').replace('name: tiny\n', '').replace(/loading:\n.*\n.*\n/, ''));
    rmSync(join(dir, 'config.yaml'));
    await open();
  });
  afterEach(async () => {
    await close();
    rmSync(home, { recursive: true });
  });

  const write = (text: string): void => writeFileSync(join(dir, 'a.yaml'), `extends: base.yaml\nload: { use: llama, model: ./model }\n${text}`);
  const a = (): WatchedConfig | undefined => folders.list().find(({ file }) => file.endsWith('a.yaml'));
  const jobs = async (): Promise<readonly Job[]> => queue.list();
  /** Waits for the folder itself to notice. */
  const until = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
    while (!(await holds())) await sleep(50);
  };

  it('is looked at when something in it changes: what is written twice is queued once, as it is in the end', async () => {
    expect(folders.list()).toMatchObject([{ file: join(dir, 'base.yaml'), state: 'part' }]);
    write('queue: on-change\nseed: 1\n');
    await sleep(20);
    write('queue: on-change\nseed: 2\n');
    await until(async () => (await jobs()).length > 0);
    await folders.look();
    expect(await jobs()).toMatchObject([{ name: 'a', group: 'a', state: 'waiting', payload: { source: { config: join(dir, 'a.yaml') } } }]);
    expect(readFileSync(String((await jobs())[0]!.payload['configFile']), 'utf8')).toMatch(/^seed: 2$/m);
    expect(readFileSync(String((await jobs())[0]!.payload['configFile']), 'utf8')).not.toContain('on-change');
    expect(a()).toMatchObject({ state: 'valid', queuesOnChange: true, queued: { jobs: [(await jobs())[0]!.id] } });
  });

  it('is queued from once for what a config says, not for how it is written, and over a new start of the host', async () => {
    write('queue: on-change\nseed: 1\n');
    await folders.look();
    write('# said otherwise\nseed: 1\nqueue: on-change\n');
    await folders.look();
    expect(await jobs()).toHaveLength(1);
    await close();
    await open();
    expect(await jobs()).toHaveLength(1);
    expect(a()).toMatchObject({ queued: { jobs: [(await jobs())[0]!.id] } });
    // A host that was killed before it had kept that it had queued it.
    database.run('DELETE FROM host_configs');
    await close();
    await open();
    expect(await jobs()).toHaveLength(1);
    write('queue: on-change\nseed: 2\nsweep: { inject.0.r: [2, 4] }\n');
    await folders.look();
    expect((await jobs()).map(({ name, group }) => [name, group])).toEqual([['a-r=4', 'a'], ['a-r=2', 'a'], ['a', 'a']]);
    write('queue: on-change\nseed: 1\n');
    await folders.look();
    expect(await jobs()).toHaveLength(3);
  });

  it('tells of a config that is wrong with the place, and leaves its runs alone', async () => {
    write('queue: on-change\nseed: 1\n');
    await folders.look();
    write('queue: on-change\nsede: 2\n');
    await folders.look();
    expect(a()).toMatchObject({ state: 'invalid', reason: expect.stringMatching(/a\.yaml:4:1: .*`sede`/) as string, queuesOnChange: true, queued: { jobs: [(await jobs())[0]!.id] } });
    expect(told.filter((message) => /a\.yaml:4:1: /.test(message))).toHaveLength(1);
    await folders.look();
    expect(told.filter((message) => /a\.yaml:4:1: /.test(message))).toHaveLength(1);
    expect(await jobs()).toMatchObject([{ state: 'waiting' }]);
    write('seed: 3\n');
    await folders.look();
    expect(a()).toMatchObject({ state: 'valid', queuesOnChange: false });
    expect(await jobs()).toHaveLength(1);
    rmSync(join(dir, 'a.yaml'));
    await folders.look();
    expect(a()).toBeUndefined();
  });

  it('sees that what a config extends has changed, and what there is after its folder was away', async () => {
    write('queue: on-change\n');
    await folders.look();
    writeFileSync(join(dir, 'base.yaml'), readFileSync(join(dir, 'base.yaml'), 'utf8').replace('epochs: 2', 'epochs: 1'));
    await folders.look();
    expect(await jobs()).toHaveLength(2);
    const base = readFileSync(join(dir, 'base.yaml'));
    rmSync(dir, { recursive: true });
    await folders.look();
    expect(folders.list()).toEqual([]);
    expect(told.some((message) => message.includes(`The folder of configs ${dir} can't be read`))).toBe(true);
    mkdirSync(dir);
    writeFileSync(join(dir, 'base.yaml'), base);
    writeFileSync(join(dir, 'b.yml'), 'extends: base.yaml\nload: { use: llama, model: /m }\nqueue: sometimes\n');
    await folders.look();
    expect(folders.list()).toMatchObject([{ file: join(dir, 'b.yml'), state: 'invalid', reason: expect.stringMatching(/b\.yml:3:8: .*`queue`/) as string }, { state: 'part' }]);
  });
});
