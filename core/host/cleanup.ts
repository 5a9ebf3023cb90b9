/** What killed processes leave behind, removed when the host starts, with a line in the log for each thing. */
import { lstatSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Database, Logger, Queue } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { WRITING as ADAPTERS_WRITING } from '../run/adapters.ts';
import { WRITING as CHECKPOINT_WRITING } from '../run/checkpoints.ts';
import { ASIDE } from '../run/durable.ts';
import { isStale, lockFileOf, lockRun } from '../run/lock.ts';
import { runPayloadOf, type RunPayload } from './run-payload.ts';
import { BACKUP_WRITING } from './state.ts';
import { addressFileOf } from './state-dir.ts';

/** Jobs that are read at once. */
const PAGE = 1000;

export interface CleanupOptions {
  /** The state folder, held by this process. */
  readonly stateDir: string;
  readonly submittedDir: string;
  /** Directories of the runs that this host has started. */
  readonly runDirs: readonly string[];
  readonly queue: Queue;
  /** Its plugin. A config that another plugin's queue still has a job for is not this one's to remove. */
  readonly queueName: string;
  readonly database: Database;
  readonly log: Logger;
}

type Kind = 'lock' | 'temporary file' | 'half-written checkpoint' | 'half-written adapter folder' | 'half-written backup' | 'submitted config' | 'address';
const PLURALS: Readonly<Partial<Record<Kind, string>>> = { address: 'addresses' };

interface Leftover {
  readonly kind: Kind;
  readonly path: string;
  /** Completes "Removed ...:". */
  readonly why: string;
}

/**
 * Removes locks of dead processes, temporary files, half-written checkpoints, adapters and backups, and submitted configs without a job; only in the state folder and in directories of runs that
 * this host has started. Symbolic links are neither followed nor removed, and a run that a living process holds is left alone. What can't be removed is said and left.
 * @returns how many things were removed
 */
export async function cleanUp(options: CleanupOptions): Promise<number> {
  const { log } = options;
  const kinds: Kind[] = [];
  const remove = async (leftovers: readonly Leftover[]): Promise<void> => {
    for (const { kind, path, why } of leftovers) {
      try {
        await rm(path, { recursive: true, force: true });
        kinds.push(kind);
        log.info(`Removed ${path}: ${why}.`);
      } catch (error) {
        log.warn(`${path} can't be removed: ${reasonOf(error)}`);
      }
    }
  };
  await remove([...(await inState(options)), ...(await withoutJob(options))]);
  for (const dir of options.runDirs) {
    const leftovers = await inRun(dir).catch((error: unknown) => (log.warn(`${dir} can't be cleaned up: ${reasonOf(error)}`), []));
    if (leftovers.length === 0) continue;
    const release = hold(dir, log);
    if (release === undefined) continue;
    // Taking it has taken over a dead process's lock.
    const [locks, others] = [leftovers.filter(({ kind }) => kind === 'lock'), leftovers.filter(({ kind }) => kind !== 'lock')];
    await remove(others);
    release();
    for (const { path, why } of locks) log.info(`Removed ${path}: ${why}.`);
    kinds.push(...locks.map(({ kind }) => kind));
  }
  if (kinds.length > 0) log.info(`Cleaned up what killed processes had left: ${counted(kinds)}.`);
  return kinds.length;
}

/** @returns undefined where a living process holds it */
function hold(dir: string, log: Logger): (() => void) | undefined {
  try {
    return lockRun(dir);
  } catch (error) {
    if (!GraftError.is(error) || error.code !== 'RUN_LOCKED') log.warn(`${dir} can't be cleaned up: ${reasonOf(error)}`);
    return undefined;
  }
}

async function inState({ stateDir, submittedDir }: CleanupOptions): Promise<readonly Leftover[]> {
  const own = await entries(stateDir);
  const submitted = await entries(submittedDir);
  const backups = await entries(join(stateDir, 'backups'));
  return [
    ...own.files.filter((path) => path === addressFileOf(stateDir)).map((path): Leftover => ({ kind: 'address', path, why: 'the daemon before this one did not end by itself' })),
    ...[...own.files, ...submitted.files].filter((path) => ASIDE.test(path)).map(temporary),
    ...backups.files.filter((path) => basename(path).includes(BACKUP_WRITING)).map((path): Leftover => ({ kind: 'half-written backup', path, why: 'it was being written when the daemon ended' })),
  ];
}

async function withoutJob({ submittedDir, queue, queueName, database }: CleanupOptions): Promise<readonly Leftover[]> {
  database.migrate('host-cleanup', ['CREATE TABLE host_queue (name TEXT PRIMARY KEY) STRICT']);
  database.run('INSERT OR IGNORE INTO host_queue (name) VALUES (:queueName)', { queueName });
  const configs = (await entries(submittedDir)).files.filter((path) => path.endsWith('.yaml'));
  if (configs.length === 0 || database.all('SELECT name FROM host_queue').length > 1) return [];
  const known = new Set<string>();
  for (let after: string | undefined; ; ) {
    const jobs = await queue.list({ after, limit: PAGE });
    // A job that is to go on under another config can go back to the one before.
    for (const job of jobs) {
      for (let payload: RunPayload | undefined = runPayloadOf(job); payload !== undefined; payload = payload.swap?.back) known.add(payload.configFile);
    }
    if (jobs.length < PAGE) break;
    after = jobs.at(-1)!.id;
  }
  return configs.filter((path) => !known.has(path)).map((path) => ({ kind: 'submitted config', path, why: 'no job was made of it, or it was removed' }));
}

/** What there is to remove in a run's directory. */
async function inRun(dir: string): Promise<readonly Leftover[]> {
  const { files, folders } = await entries(dir);
  const checkpoints = folders.includes(join(dir, 'checkpoints')) ? (await entries(join(dir, 'checkpoints'))).folders : [];
  const halfWritten = 'it was being written when the process ended';
  return [
    ...files.filter((path) => path === lockFileOf(dir) && isStale(path)).map((path): Leftover => ({ kind: 'lock', path, why: 'its process is gone' })),
    ...files.filter((path) => ASIDE.test(path)).map(temporary),
    ...checkpoints.filter((path) => basename(path).startsWith(CHECKPOINT_WRITING)).map((path): Leftover => ({ kind: 'half-written checkpoint', path, why: halfWritten })),
    ...folders.filter((path) => path === join(dir, `adapters${ADAPTERS_WRITING}`)).map((path): Leftover => ({ kind: 'half-written adapter folder', path, why: halfWritten })),
  ];
}

const temporary = (path: string): Leftover => ({ kind: 'temporary file', path, why: 'its writing was cut short' });

/** What is itself in a folder, links left out; nothing where it is gone, or a link. */
async function entries(dir: string): Promise<{ readonly files: readonly string[]; readonly folders: readonly string[] }> {
  if (lstatSync(dir, { throwIfNoEntry: false })?.isDirectory() !== true) return { files: [], folders: [] };
  const all = await readdir(dir, { withFileTypes: true });
  return { files: all.filter((entry) => entry.isFile()).map(({ name }) => join(dir, name)), folders: all.filter((entry) => entry.isDirectory()).map(({ name }) => join(dir, name)) };
}

function counted(kinds: readonly Kind[]): string {
  return [...new Set(kinds)]
    .map((kind) => {
      const count = kinds.filter((each) => each === kind).length;
      return `${count} ${count === 1 ? kind : (PLURALS[kind] ?? `${kind}s`)}`;
    })
    .join(', ');
}
