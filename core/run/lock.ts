import { closeSync, openSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { GraftError } from '../kernel/errors.ts';

/** Milliseconds that writing a lock takes at most. */
const WRITING_MS = 5000;
/** Milliseconds between two signs of life that a holder gives: its lock's time of change. */
const BEAT_MS = 10_000;
/** Milliseconds without a sign of life after which a holder that can't be seen from here counts as gone: longer than a step may take. */
const UNSEEN_MS = 300_000;

/** Who writes a run. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Of the kernel that it runs on, another at each boot, where /proc tells. Containers share it, whatever their host names. */
  readonly boot?: string;
  /** The namespace in which `pid` is its number: each container has its own. */
  readonly namespace?: string;
  /** When the process began, in the kernel's own clock ticks, where /proc tells: a number used again is told apart. */
  readonly began?: string;
}

/**
 * Takes a run directory for this process: two never write one run.
 * @returns a function that releases it
 * @throws GraftError `RUN_LOCKED` naming the process that holds it
 */
export function lockRun(dir: string): () => void {
  return lock(lockFileOf(dir), { code: 'RUN_LOCKED', what: dir });
}

/** The lock inside a run directory. */
export function lockFileOf(dir: string): string {
  return join(dir, 'run.lock');
}

/**
 * Takes what a lock file stands for. A lock whose process is gone is taken over; one whose process can't be seen, since it is in another container or on another machine, when it has not been
 * renewed for `unseenMs`.
 * @param told code of the error, and what is taken in the words of its message
 * @returns a function that releases it
 * @throws GraftError naming the process that holds it
 */
export function lock(path: string, { code, what, unseenMs = UNSEEN_MS }: { readonly code: string; readonly what: string; readonly unseenMs?: number }): () => void {
  const own = JSON.stringify(thisProcess());
  if (!create(path, own)) {
    const text = contents(path);
    const holder = parse(text);
    const seen = holder === undefined ? 'gone' : look(holder);
    const renewedMs = age(path);
    if (seen === 'alive' || (seen === 'unseen' && renewedMs < unseenMs)) throw held(path, holder!, seen, { code, what, unseenMs, renewedMs });
    if (isBeingWritten(path, text) || !putAside(path, text) || !create(path, own)) throw new GraftError(code, `Another process took ${what} at the same moment.`, { hint: 'Try again.' });
  }
  const beat = setInterval(() => renew(path, own), BEAT_MS).unref();
  return () => {
    clearInterval(beat);
    if (contents(path) === own) rmSync(path, { force: true });
  };
}

/** Whether a lock is one of a process that is gone: it would be taken over. */
export function isStale(path: string): boolean {
  const text = contents(path);
  const holder = parse(text);
  if (holder === undefined) return statSync(path, { throwIfNoEntry: false }) !== undefined && !isBeingWritten(path, text);
  const seen = look(holder);
  return seen === 'gone' || (seen === 'unseen' && age(path) >= UNSEEN_MS);
}

function held(path: string, holder: Holder, seen: 'alive' | 'unseen', { code, what, unseenMs, renewedMs }: { readonly code: string; readonly what: string; readonly unseenMs: number; readonly renewedMs: number }): GraftError {
  const where = holder.host === hostname() ? '' : ` on ${holder.host}`;
  if (seen === 'alive') return new GraftError(code, `Another process writes ${what}: process ${holder.pid}${where}.`, { hint: `Wait for it or end it. If it is certainly gone, delete ${path}.` });
  return new GraftError(code, `Another process writes ${what}: process ${holder.pid}${where}, in another container or on another machine; it gave a sign of life ${seconds(renewedMs)} ago.`, {
    hint: `Wait for it or end it: ${seconds(unseenMs)} after its last sign of life it counts as gone. If it certainly is, delete ${path}.`,
  });
}

const seconds = (ms: number): string => `${Math.max(0, Math.round(ms / 1000))} s`;

function create(path: string, text: string): boolean {
  try {
    const file = openSync(path, 'wx');
    try {
      writeSync(file, text);
    } catch (error) {
      // Left empty on a full disk, it would be in the way.
      rmSync(path, { force: true });
      throw error;
    } finally {
      closeSync(file);
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** What another one took over, since this process stood still for too long, is not renewed. */
function renew(path: string, own: string): void {
  const now = new Date();
  try {
    if (contents(path) === own) utimesSync(path, now, now);
  } catch {
    // Gone at this moment, or on a disk that can't be written: whoever shares this machine sees the process all the same.
  }
}

/** Milliseconds since it was renewed; endless where it is gone. */
function age(path: string): number {
  return Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.NEGATIVE_INFINITY);
}

/** Empty where it is gone. */
function contents(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

function parse(text: string): Holder | undefined {
  try {
    return JSON.parse(text) as Holder;
  } catch {
    return undefined;
  }
}

/** A lock is empty for a moment between its creation and its writing; one that stays so is a crash's. */
function isBeingWritten(path: string, text: string): boolean {
  const created = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  return text === '' && created !== undefined && Date.now() - created < WRITING_MS;
}

/**
 * Removes a dead process's lock, moving it first: of two that saw it dead, the second would remove the first's own.
 * @returns false where it was another lock by then; that one stands again
 */
function putAside(path: string, expected: string): boolean {
  const aside = `${path}.${process.pid}.tmp`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw error;
  }
  const isExpected = contents(aside) === expected;
  if (isExpected) rmSync(aside, { force: true });
  else renameSync(aside, path);
  return isExpected;
}

function thisProcess(): Holder {
  return { pid: process.pid, host: hostname(), boot: bootId(), namespace: pidNamespace(), began: beganAt(process.pid) };
}

/**
 * What can be seen of a holder from here. Host names alone don't tell machines apart: a container gets another one each time that it is made, and two may have the same one.
 */
function look(holder: Holder): 'alive' | 'gone' | 'unseen' {
  const [boot, sameHost] = [bootId(), holder.host === hostname()];
  if (boot === undefined || holder.boot === undefined) return sameHost ? lookFor(holder) : 'unseen';
  if (boot === holder.boot) return holder.namespace === pidNamespace() ? lookFor(holder) : 'unseen';
  // This machine has been started anew since.
  return sameHost ? 'gone' : 'unseen';
}

function lookFor({ pid, began }: Holder): 'alive' | 'gone' {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'gone';
  }
  return began === undefined || began === beganAt(pid) ? 'alive' : 'gone';
}

/** https://www.kernel.org/doc/html/latest/admin-guide/sysctl/kernel.html#random */
function bootId(): string | undefined {
  return told(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
}

function pidNamespace(): string | undefined {
  return told(() => readlinkSync('/proc/self/ns/pid'));
}

/** Field 22 of /proc/<pid>/stat; the name in field 2 may hold spaces. */
function beganAt(pid: number): string | undefined {
  return told(() => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[19]);
}

/** What /proc tells, where there is one. */
function told(read: () => string | undefined): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
