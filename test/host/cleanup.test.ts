import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Logger } from '../../core/contracts/index.ts';
import { cleanUp } from '../../core/host/cleanup.ts';
import { HostState } from '../../core/host/state.ts';
import { lockRun } from '../../core/run/lock.ts';
import { SqliteQueue } from '../../plugins/queue-sqlite/queue.ts';

let dir: string;
let state: HostState;
let queue: SqliteQueue;
let lines: string[];
/** Of a process that has ended. */
let dead: number;

beforeAll(async () => {
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  dead = child.pid!;
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cleanup-'));
  state = HostState.open(join(dir, 'state'));
  queue = new SqliteQueue(state.database);
  lines = [];
});
afterEach(() => {
  state.close();
  rmSync(dir, { recursive: true });
});

function clean(runDirs: readonly string[] = [], queueName = 'sqlite'): Promise<number> {
  const write = (message: string): void => void lines.push(message);
  const log: Logger = { debug: write, info: write, warn: write, error: write, child: () => log };
  return cleanUp({ stateDir: state.dir, submittedDir: state.submittedDir, runDirs, queue, queueName, database: state.database, log });
}

/** A run's directory as a kill at the worst moments leaves it. */
function killedRun(name: string): string {
  const run = join(dir, name);
  mkdirSync(join(run, 'checkpoints', 'step-3'), { recursive: true });
  mkdirSync(join(run, 'checkpoints', `.writing-step-6-${dead}`, 'grafts'), { recursive: true });
  mkdirSync(join(run, 'adapters.writing'));
  writeFileSync(join(run, 'run.json'), '{}');
  writeFileSync(join(run, `run.json.${dead}.tmp`), '{');
  writeFileSync(join(run, 'run.lock'), JSON.stringify({ pid: dead, host: hostname() }));
  return run;
}

async function submitted(name: string): Promise<string> {
  const configFile = join(state.submittedDir, `${name}.yaml`);
  writeFileSync(configFile, 'name: a\n');
  await queue.submit([{ name, payload: { runId: name, configFile, halvings: 0 }, resources: { cpu: 1, memory_mb: 1, gpu_memory_mb: 0 }, priority: 0, max_attempts: 1 }]);
  return configFile;
}

describe('what killed processes leave behind', () => {
  it('is removed from the directory of a run, and what is whole stays', async () => {
    const run = killedRun('run');
    expect(await clean([run, join(dir, 'gone')])).toBe(4);
    expect(readdirSync(run).sort()).toEqual(['checkpoints', 'run.json']);
    expect(readdirSync(join(run, 'checkpoints'))).toEqual(['step-3']);
    expect(lines).toHaveLength(5);
    expect(lines).toContain(`Removed ${join(run, 'run.lock')}: its process is gone.`);
    expect(lines).toContain(`Removed ${join(run, 'checkpoints', `.writing-step-6-${dead}`)}: it was being written when the process ended.`);
    expect(lines.at(-1)).toBe('Cleaned up what killed processes had left: 1 temporary file, 1 half-written checkpoint, 1 half-written adapter folder, 1 lock.');
    expect(await clean([run])).toBe(0);
    expect(lines).toHaveLength(5);
  });

  it('is left alone in a run that a living process holds', async () => {
    const run = killedRun('run');
    const before = (): readonly string[] => readdirSync(run, { recursive: true }).map(String).sort();
    const release = lockRun(run);
    const held = before();
    expect(await clean([run])).toBe(0);
    expect(before()).toEqual(held);
    release();
    expect(await clean([run])).toBe(3);
  });

  it('is removed from the state folder, with submitted configs that no job has', async () => {
    const kept = await submitted('kept');
    const orphan = join(state.submittedDir, 'orphan.yaml');
    const left = [orphan, join(state.submittedDir, `a.yaml.${dead}.tmp`), join(state.dir, `daemon.json.${dead}.tmp`), join(state.dir, 'daemon.json'), join(state.dir, 'backups', 'graft-1.db.writing'), join(state.dir, 'backups', 'graft-1.db.writing-journal')];
    for (const file of left) writeFileSync(file, '');
    expect(await clean()).toBe(left.length);
    expect(left.filter((file) => existsSync(file))).toEqual([]);
    expect(existsSync(kept)).toBe(true);
    expect(existsSync(join(state.dir, 'daemon.lock'))).toBe(true);
    expect(lines.at(-1)).toBe('Cleaned up what killed processes had left: 1 address, 2 temporary files, 2 half-written backups, 1 submitted config.');
  });

  it("does not count as such where it may be another queue's", async () => {
    const orphan = join(state.submittedDir, 'orphan.yaml');
    await clean();
    writeFileSync(orphan, '');
    expect(await clean([], 'another')).toBe(0);
    expect(await clean()).toBe(0);
    expect(existsSync(orphan)).toBe(true);
  });

  it('is not looked for behind symbolic links, and they stay', async () => {
    const elsewhere = killedRun('elsewhere');
    symlinkSync(elsewhere, join(dir, 'linked'));
    const run = join(dir, 'run');
    mkdirSync(run);
    symlinkSync(join(elsewhere, 'checkpoints'), join(run, 'checkpoints'));
    symlinkSync(join(elsewhere, 'run.json'), join(run, `run.json.${dead}.tmp`));
    symlinkSync(join(elsewhere, 'run.lock'), join(run, 'run.lock'));
    symlinkSync(elsewhere, join(run, 'adapters.writing'));
    symlinkSync(join(elsewhere, 'run.json'), join(state.submittedDir, 'linked.yaml'));
    expect(await clean([join(dir, 'linked'), run])).toBe(0);
    expect(readdirSync(elsewhere)).toHaveLength(5);
    expect(readdirSync(join(elsewhere, 'checkpoints'))).toHaveLength(2);
    for (const name of ['checkpoints', `run.json.${dead}.tmp`, 'run.lock', 'adapters.writing']) expect(lstatSync(join(run, name)).isSymbolicLink()).toBe(true);
  });
});
