import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isStale, lockRun } from '../../core/run/lock.ts';

describe('the lock of a run directory', () => {
  let dir: string;
  beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'graft-lock-')); });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const path = () => join(dir, 'run.lock');
  const anHourOld = () => utimesSync(path(), Date.now() / 1000 - 3600, Date.now() / 1000 - 3600);

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

  it('is not taken from a process on another machine, which cannot be seen, while it gives signs of life', () => {
    writeFileSync(path(), JSON.stringify({ pid: 1, host: 'elsewhere' }));
    expect(() => lockRun(dir)).toThrow(`Another process writes ${dir}: process 1 on elsewhere, in another container or on another machine; it gave a sign of life 0 s ago.`);
    expect(isStale(path())).toBe(false);
    anHourOld();
    expect(isStale(path())).toBe(true);
    lockRun(dir)();
  });

  describe.skipIf(!existsSync('/proc/sys/kernel/random/boot_id'))('in containers', () => {
    const recorded = (change: object): void => {
      const release = lockRun(dir);
      const own = JSON.parse(readFileSync(path(), 'utf8')) as object;
      release();
      writeFileSync(path(), JSON.stringify({ ...own, ...change }));
    };

    it('is held by a living process whose container has another host name', () => {
      recorded({ host: 'a1b2c3' });
      anHourOld();
      expect(() => lockRun(dir)).toThrow(`process ${process.pid} on a1b2c3.`);
    });

    it('is taken over from a container that was made anew under another host name, once it gives no sign of life', () => {
      recorded({ host: 'a1b2c3', namespace: 'pid:[1]', pid: 1 });
      expect(() => lockRun(dir)).toThrow('it gave a sign of life');
      anHourOld();
      lockRun(dir)();
    });

    it('does not take a number of another namespace for one of its own', () => {
      recorded({ namespace: 'pid:[1]', pid: 999_999_999 });
      expect(() => lockRun(dir)).toThrow('process 999999999, in another container');
    });

    it('is taken over at once after the machine was started anew', () => {
      recorded({ boot: 'the boot before' });
      lockRun(dir)();
    });
  });

  it("does not remove another one's lock when it is released", () => {
    const release = lockRun(dir);
    const other = JSON.stringify({ pid: 1, host: 'elsewhere' });
    writeFileSync(path(), other);
    release();
    expect(readFileSync(path(), 'utf8')).toBe(other);
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
