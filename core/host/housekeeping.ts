/** What is done now and then in a host that is left running: backups, forgetting what jobs told long ago, and removing uploaded files that have expired. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Logger, Queue } from '../contracts/index.ts';
import { reasonOf } from '../kernel/errors.ts';
import type { FileStore } from './openai/file-store.ts';
import type { RunStore } from './run-store.ts';

const EVERY_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** Rows of one statement: what waits for it waits for milliseconds. */
const BATCH = 500;

export interface HousekeepingOptions {
  readonly log: Logger;
  readonly queue: Queue;
  readonly runs: RunStore;
  readonly files: Pick<FileStore, 'expired' | 'remove'>;
  /** A job that has yet to read a file. */
  readerOf(file: string): Promise<string | undefined>;
  /** Days that the events and metrics of a job that has ended are kept. */
  readonly keepDays: number;
  /** Copies the database where that is due. */
  readonly backUp: () => Promise<void>;
}

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
  }

  /** Resolves when a backup has been made where one is due; the rest follows, and all of it again by the hour. */
  async start(): Promise<void> {
    await this.#backUp();
    this.#working = this.#forget();
    this.#timer = setInterval(() => (this.#working = this.#working.then(() => this.#backUp()).then(() => this.#forget())), EVERY_MS).unref();
  }

  /** Resolves when nothing uses the database any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#working;
  }

  async #backUp(): Promise<void> {
    const { log, backUp } = this.#options;
    await backUp().catch((error: unknown) => log.error(`The database can't be backed up: ${reasonOf(error)}`));
  }

  async #forget(): Promise<void> {
    await this.expire().catch((error: unknown) => this.#options.log.error(`Uploaded files that have expired can't be removed: ${reasonOf(error)}`));
    await this.prune().catch((error: unknown) => this.#options.log.error(`What jobs told long ago can't be forgotten: ${reasonOf(error)}`));
  }

  /**
   * Removes uploaded files that have expired, but for those that a job has yet to read: they go when it has ended.
   * @returns how many
   */
  async expire(now = Date.now()): Promise<number> {
    const { files, readerOf, log } = this.#options;
    let removed = 0;
    for (const { id } of files.expired(now)) if ((await readerOf(id)) === undefined && files.remove(id)) removed++;
    if (removed > 0) log.info(`Removed ${removed} uploaded ${removed === 1 ? 'file that has' : 'files that have'} expired.`);
    return removed;
  }

  /**
   * Removes the events and metrics of jobs that ended more than `keepDays` ago, some rows at a time. Jobs, attempts, results and run directories stay.
   * @returns rows removed
   */
  async prune(now = Date.now()): Promise<number> {
    const { queue, runs, log, keepDays } = this.#options;
    const before = now - keepDays * DAY_MS;
    let [rows, jobs] = [0, 0];
    for (const id of runs.lastActiveBefore(before)) {
      const job = await queue.get(id);
      // One that waits or is paused goes on one day, however long ago it last ran.
      if (job !== undefined && (job.endedAt === undefined || job.endedAt >= before || !['succeeded', 'failed', 'cancelled'].includes(job.state))) continue;
      jobs++;
      for (let removed = BATCH; removed === BATCH && !this.#stopped; rows += removed) {
        removed = runs.forgetSome(id, BATCH);
        await nextTurn();
      }
      if (this.#stopped) break;
    }
    if (rows > 0) log.info(`Forgot ${rows} events and metrics of ${jobs} ${jobs === 1 ? 'job' : 'jobs'} that ended more than ${keepDays} days ago; their run directories have them.`);
    return rows;
  }
}
