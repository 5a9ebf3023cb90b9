/** Folders of experiments: their configs are checked whenever they change, and those that ask for it are queued. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { watch, type FSWatcher } from 'chokidar';
import { contentOf } from '../config/index.ts';
import type { Database, Job, Logger, Queue } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { isIgnored } from '../kernel/signature.ts';
import { digestOf } from './checked-config.ts';
import { isDaemonConfig } from './daemon-config.ts';
import { runPayloadOf } from './run-payload.ts';
import type { Submission, Submissions } from './submissions.ts';

/** Milliseconds that nothing may change in before what was written counts as whole. */
const SETTLE_MS = 500;
/** Milliseconds between two looks where nothing is told: network folders tell nothing, and one that is not there can't. */
const LOOK_MS = 10_000;
/** Jobs of a group that are searched for one that was queued while the host was killed. */
const SEARCHED = 100;

const STEPS: readonly string[] = ['CREATE TABLE host_configs (digest TEXT PRIMARY KEY, file TEXT NOT NULL, at INTEGER NOT NULL, jobs TEXT NOT NULL) STRICT;'];

/** A file of a watched folder. */
export interface WatchedConfig {
  readonly file: string;
  /** `part`: it has no `load:`, and is there for others to extend. */
  readonly state: 'valid' | 'invalid' | 'part';
  /** What is wrong with it, each mistake at its place. */
  readonly reason?: string;
  /** Whether it is queued by itself when it changes. */
  readonly queuesOnChange: boolean;
  /** The newest jobs that were queued of it by themselves. */
  readonly queued?: { readonly at: number; readonly jobs: readonly string[] };
}

export interface ConfigFoldersOptions {
  readonly dirs: readonly string[];
  readonly submissions: Pick<Submissions, 'resolve' | 'enqueue'>;
  readonly queue: Queue;
  readonly database: Database;
  readonly log: Logger;
  /** Is told of what was queued. */
  readonly queued: () => void;
}

export class ConfigFolders {
  readonly #options: ConfigFoldersOptions;
  readonly #fileToKnown = new Map<string, { readonly content: string; readonly config: WatchedConfig }>();
  readonly #missing = new Set<string>();
  #watcher: FSWatcher | undefined;
  #settling: NodeJS.Timeout | undefined;
  #looks: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: ConfigFoldersOptions) {
    this.#options = options;
    options.database.migrate('host-configs', STEPS);
  }

  /** Begins to check what is there, and whatever changes from now on. */
  async start(): Promise<void> {
    const { dirs } = this.#options;
    if (dirs.length === 0) return;
    // Not what is below: runs may be kept there, and write all the time.
    this.#watcher = watch([...dirs], { ignoreInitial: true, depth: 0 });
    this.#watcher.on('all', () => this.changed());
    this.#watcher.on('error', (error) => this.#options.log.warn(`A folder of configs can't be watched, and is looked at every ${LOOK_MS / 1000} s: ${reasonOf(error)}`));
    await new Promise<void>((ready) => this.#watcher!.once('ready', ready));
    void this.look();
    this.#looks = setInterval(() => void this.look(), LOOK_MS).unref();
  }

  /** By file. */
  list(): readonly WatchedConfig[] {
    return [...this.#fileToKnown.values()].map(({ config }) => config).sort((a, b) => (a.file < b.file ? -1 : 1));
  }

  /** Looks once nothing has changed for a while. */
  changed(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => void this.look(), SETTLE_MS).unref();
  }

  /** What was wrong for want of a plugin may be right now. */
  pluginsChanged(): void {
    for (const [file, { config }] of this.#fileToKnown) if (config.state === 'invalid') this.#fileToKnown.set(file, { content: '', config });
    this.changed();
  }

  /** One look after the other; resolves when everything that was there has been seen to. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (this.#closed) return;
      await this.#look().catch((error: unknown) => this.#options.log.error(`The folders of configs can't be read: ${reasonOf(error)}`));
    });
    return this.#looking;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#settling);
    clearInterval(this.#looks);
    await this.#watcher?.close();
    await this.#looking;
  }

  async #look(): Promise<void> {
    const files = (await Promise.all(this.#options.dirs.map((dir) => this.#filesIn(dir)))).flat();
    for (const file of this.#fileToKnown.keys()) {
      if (files.includes(file)) continue;
      this.#fileToKnown.delete(file);
      this.#options.log.info(`${file} is gone; its runs go on.`, { config: file });
    }
    for (const file of files) {
      const { keys, text } = await contentOf(file);
      const known = this.#fileToKnown.get(file);
      if (this.#closed || known?.content === text) continue;
      const isPart = keys.length > 0 && !keys.includes('load') && (!keys.includes('queue') || (await isDaemonConfig(file)));
      const config = isPart ? ({ file, state: 'part', queuesOnChange: false } as const) : await this.#check(file, known?.config);
      // What the queue could not take is tried again.
      this.#fileToKnown.set(file, { content: config === undefined ? '' : text, config: config ?? known?.config ?? { file, state: 'valid', queuesOnChange: true } });
    }
  }

  async #filesIn(dir: string): Promise<readonly string[]> {
    try {
      const names = await readdir(dir);
      this.#missing.delete(dir);
      return names.filter((name) => /\.ya?ml$/i.test(name) && !isIgnored(name)).sort().map((name) => join(dir, name));
    } catch (error) {
      if (!this.#missing.has(dir)) this.#options.log.warn(`The folder of configs ${dir} can't be read, and is waited for: ${reasonOf(error)}`);
      this.#missing.add(dir);
      return [];
    }
  }

  /** @returns undefined where it is right and can't be queued now */
  async #check(file: string, before: WatchedConfig | undefined): Promise<WatchedConfig | undefined> {
    const { submissions, log } = this.#options;
    try {
      const configs = await submissions.resolve({ config: file });
      if (before?.state === 'invalid') log.info(`${file} is right again.`, { config: file });
      const { queuesOnChange } = configs[0]!;
      const valid = { file, state: 'valid', queuesOnChange } as const;
      if (!queuesOnChange || this.#closed) return valid;
      const digest = digestOf(configs.map((each) => each.digest));
      const earlier = this.#queued(digest);
      // The same seed and the same data would make the same run.
      if (earlier !== undefined && before?.queued !== undefined && !isDeepStrictEqual(before.queued, earlier)) log.info(`${file} says again what was queued as ${earlier.jobs.join(', ')}; \`graft submit\` runs it once more.`, { config: file });
      return { ...valid, queued: earlier ?? (await this.#enqueue(configs, { config: file, group: configs[0]!.experiment }, digest)) };
    } catch (error) {
      // What was being checked then was ended with the host.
      if (this.#closed) return undefined;
      if (!GraftError.is(error) || error.code === 'DISK_FULL') {
        log.error(`${file} can't be queued now: ${reasonOf(error)}`, { config: file });
        return undefined;
      }
      log.error(`${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}`, { config: file, code: error.code });
      return { file, state: 'invalid', reason: error.message, queuesOnChange: before?.queuesOnChange ?? false, queued: before?.queued };
    }
  }

  #queued(digest: string): WatchedConfig['queued'] {
    const row = this.#options.database.get('SELECT * FROM host_configs WHERE digest = :digest', { digest });
    return row === undefined ? undefined : { at: row['at'] as number, jobs: JSON.parse(row['jobs'] as string) as readonly string[] };
  }

  async #enqueue(configs: Parameters<Submissions['enqueue']>[0], submission: Submission, digest: string): Promise<NonNullable<WatchedConfig['queued']>> {
    const { submissions, queue, database, log, queued } = this.#options;
    // A host that was killed may have queued it without keeping that it had.
    const left = (await queue.list({ group: submission.group, limit: SEARCHED })).filter((job) => runPayloadOf(job).digest === digest);
    const jobs: readonly Job[] = left.length > 0 ? left : await submissions.enqueue(configs, submission, { digest });
    const kept = { at: Date.now(), jobs: jobs.map(({ id }) => id) };
    database.run('INSERT INTO host_configs (digest, file, at, jobs) VALUES (:digest, :file, :at, :jobs)', { digest, file: submission.config, at: kept.at, jobs: JSON.stringify(kept.jobs) });
    log.info(`${submission.config} has changed, and is queued as ${kept.jobs.join(', ')}.`, { config: submission.config });
    queued();
    return kept;
  }
}
