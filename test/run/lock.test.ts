import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockRun } from '../../core/run/lock.ts';

describe('the lock of a run directory', () => {
  let dir: string;
  beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'graft-lock-')); });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const path = () => join(dir, 'run.lock');

  it('keeps a second writer out, naming the first, until it is released', () => {
    const release = lockRun(dir);
    expect(() => lockRun(dir)).toThrow(`Another process writes ${dir}: process ${process.pid}.`);
    release();
    expect(existsSync(path())).toBe(false);
    lockRun(dir)();
  });

  it('is taken over from a process that has ended', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'exit');
    writeFileSync(path(), JSON.stringify({ pid: child.pid, host: hostname() }));
    const release = lockRun(dir);
    expect(JSON.parse(readFileSync(path(), 'utf8'))).toMatchObject({ pid: process.pid });
    release();
  });

  it.skipIf(!existsSync('/proc/self/stat'))('is taken over where another process has the same number now', () => {
    writeFileSync(path(), JSON.stringify({ pid: process.pid, host: hostname(), began: '1' }));
    lockRun(dir)();
  });

  it('is not taken from a process on another machine, which cannot be seen', () => {
    writeFileSync(path(), JSON.stringify({ pid: 1, host: 'elsewhere' }));
    expect(() => lockRun(dir)).toThrow(`Another process writes ${dir}: process 1 on elsewhere.`);
  });

  it('is taken over where a crash left it empty, but not in the moment before it is written', () => {
    writeFileSync(path(), '');
    expect(() => lockRun(dir)).toThrow(`Another process took ${dir} at the same moment.`);
    const aMinuteAgo = Date.now() / 1000 - 60;
    utimesSync(path(), aMinuteAgo, aMinuteAgo);
    lockRun(dir)();
    expect(readdirSync(dir)).toEqual([]);
  });
});
