import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { GraftError } from '../kernel/errors.ts';

/** Milliseconds that writing a lock takes at most. */
const WRITING_MS = 5000;

/** Who writes a run. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process began, in the kernel's own clock ticks, where /proc tells: a number used again is told apart. */
  readonly began?: string;
}

/**
 * Takes a run directory for this process: two never write one run.
 * @returns a function that releases it
 * @throws GraftError `RUN_LOCKED` naming the process that holds it
 */
export function lockRun(dir: string): () => void {
  return lock(join(dir, 'run.lock'), { code: 'RUN_LOCKED', what: dir });
}

/**
 * Takes what a lock file stands for. A lock whose process is gone is taken over.
 * @param told code of the error, and what is taken in the words of its message
 * @returns a function that releases it
 * @throws GraftError naming the process that holds it
 */
export function lock(path: string, { code, what }: { readonly code: string; readonly what: string }): () => void {
  if (!create(path)) {
    const text = contents(path);
    const holder = parse(text);
    if (holder !== undefined && alive(holder)) {
      throw new GraftError(code, `Another process writes ${what}: process ${holder.pid}${holder.host === hostname() ? '' : ` on ${holder.host}`}.`, {
        hint: `Wait for it or end it. If it is certainly gone, delete ${path}.`,
      });
    }
    if (isBeingWritten(path, text) || !putAside(path, text) || !create(path)) throw new GraftError(code, `Another process took ${what} at the same moment.`, { hint: 'Try again.' });
  }
  return () => rmSync(path, { force: true });
}

function create(path: string): boolean {
  try {
    const file = openSync(path, 'wx');
    writeSync(file, JSON.stringify({ pid: process.pid, host: hostname(), began: beganAt(process.pid) } satisfies Holder));
    closeSync(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
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

/** A process on another machine cannot be seen, and counts as alive. */
function alive(holder: Holder): boolean {
  if (holder.host !== hostname()) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  return holder.began === undefined || holder.began === beganAt(holder.pid);
}

/** Field 22 of /proc/<pid>/stat; the name in field 2 may hold spaces. */
function beganAt(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[19];
  } catch {
    return undefined;
  }
}
