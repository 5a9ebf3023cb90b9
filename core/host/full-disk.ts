/** Which jobs that paused over a full disk may go on, since there is space again. */
import { existsSync, statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { reasonOf } from '../kernel/errors.ts';
import { CheckpointFolder } from '../run/checkpoints.ts';
import { filesUnder } from '../run/durable.ts';
import { checkpointsDirOf } from '../run/run-directory.ts';

/** The code of a job that is paused over a full disk. */
export const DISK_FULL = 'DISK_FULL';
/** Bytes that must be free beyond what was when the job paused; twice as many each time that it pauses again. */
const MORE_BYTES = 2 ** 20;
const MOST_DOUBLINGS = 10;
/** A checkpoint is written beside the one before, and something else always is. */
const CHECKPOINTS = 1.25;
/** Bytes below which a state folder has no room for what may come at any moment. */
const LEAST_BYTES = 2 ** 20;

/** Whether the system refused a write for want of space. */
export function lacksSpace(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

interface Wanted {
  readonly dir: string;
  readonly bytes: number;
  readonly times: number;
}

export class FullDisk {
  readonly #dirs: readonly string[];
  readonly #idToWanted = new Map<string, Wanted>();

  /** @param dirs folders beside a run's own that it, or the host for it, writes to */
  constructor(dirs: readonly string[]) {
    this.#dirs = dirs;
  }

  /** Remembers how full the disks are on which a job has just paused: what is free now was not enough. */
  async paused(id: string, runDir: string | undefined): Promise<void> {
    const fullest = this.#fullest(runDir);
    const times = (this.#idToWanted.get(id)?.times ?? 0) + 1;
    const more = MORE_BYTES * 2 ** Math.min(MOST_DOUBLINGS, times - 1);
    this.#idToWanted.set(id, { dir: fullest.dir, bytes: Math.max(fullest.free, await checkpointBytes(runDir)) + more, times });
  }

  /** Whether it is worth another attempt. Of a job that paused under a host before this one it is known only how large its checkpoints are. */
  async hasRoom(id: string, runDir: string | undefined): Promise<boolean> {
    const wanted = this.#idToWanted.get(id);
    if (wanted !== undefined) return freeBytes(wanted.dir) >= wanted.bytes;
    return this.#fullest(runDir).free >= (await checkpointBytes(runDir)) + MORE_BYTES;
  }

  /** Of a job that has ended. */
  forget(id: string): void {
    this.#idToWanted.delete(id);
  }

  #fullest(runDir: string | undefined): { readonly dir: string; readonly free: number } {
    const measured = [...(runDir === undefined ? [] : [runDir]), ...this.#dirs].map((dir) => ({ dir, free: freeBytes(dir) }));
    return measured.reduce((fullest, each) => (each.free < fullest.free ? each : fullest));
  }
}

/** What is wrong with the space in a folder that must be written to at any moment; undefined where nothing is. */
export function lackOfSpace(dir: string): string | undefined {
  try {
    const free = freeBytes(dir);
    return free >= LEAST_BYTES ? undefined : `disk: ${Math.floor(free / 1024)} KiB are free in ${dir}`;
  } catch (error) {
    return `disk: ${reasonOf(error)}`;
  }
}

/** For whoever is no superuser, on the disk of a folder or of where it would be. */
function freeBytes(dir: string): number {
  let present = resolve(dir);
  while (!existsSync(present) && dirname(present) !== present) present = dirname(present);
  const { bavail, bsize } = statfsSync(present);
  return bavail * bsize;
}

/** What the next checkpoint takes, going by the newest; 0 where there is none. */
async function checkpointBytes(runDir: string | undefined): Promise<number> {
  if (runDir === undefined) return 0;
  const newest = await new CheckpointFolder(checkpointsDirOf(runDir)).latest();
  if (newest === undefined) return 0;
  return CHECKPOINTS * (await filesUnder(newest.dir)).reduce((sum, [, bytes]) => sum + bytes, 0);
}
