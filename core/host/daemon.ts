/** The host: a queue of runs, the processes that they run in, and what is known of them, for as long as it is left running. */
import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import packageJson from '../../package.json' with { type: 'json' };
import type { Job, Logger, Queue, QueueProvider, Resources } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { buildApi } from './api.ts';
import { Checks } from './check-process.ts';
import { ConfigFolders } from './config-folders.ts';
import { capacityOf, type DaemonConfig } from './daemon-config.ts';
import { Dispatcher } from './dispatcher.ts';
import { JOB_ACTIONS, type JobAction } from './job-action.ts';
import { openHost, type Host } from './open-host.ts';
import { runPayloadOf } from './run-payload.ts';
import { RunStore, type Standing } from './run-store.ts';
import { HostState } from './state.ts';
import { Submissions, type Submission } from './submissions.ts';
import { Swaps, type SwapAnswer, type SwapRequest } from './swaps.ts';

const BACKUP_MS = 3_600_000;
/** Milliseconds that a look at whether the database can be written is good for. */
const PROBE_MS = 1000;

/** A job with what the host knows of its run. */
export interface DescribedJob extends Job {
  /** What keeps a waiting job from running, a sentence. */
  readonly waitsFor?: string;
  readonly dir?: string;
  readonly standing?: Standing;
  /** Something that a person should know of it, a sentence. */
  readonly note?: string;
}

export class Daemon {
  readonly queue: Queue;
  readonly runs: RunStore;
  readonly log: Logger;
  readonly capacity: Resources;
  readonly configs: ConfigFolders;
  readonly #state: HostState;
  readonly #host: Host;
  readonly #dispatcher: Dispatcher;
  readonly #checks: Checks;
  readonly #submissions: Submissions;
  readonly #swaps: Swaps;
  #api: FastifyInstance | undefined;
  #backups: NodeJS.Timeout | undefined;
  #probe: { readonly at: number; readonly problem: string | undefined } = { at: Number.NEGATIVE_INFINITY, problem: undefined };

  private constructor(config: DaemonConfig, state: HostState, host: Host, queue: Queue, log: Logger) {
    this.#state = state;
    this.#host = host;
    this.log = log;
    this.queue = queue;
    this.runs = new RunStore(state.database);
    this.capacity = capacityOf(config);
    this.#dispatcher = new Dispatcher({
      holder: config.state_dir,
      queue,
      runs: this.runs,
      log,
      pluginDirs: config.plugins,
      capacity: this.capacity,
      rules: { ageingMs: config.ageing_minutes * 60_000, reserveMs: config.reserve_minutes * 60_000 },
      leaseMs: config.lease_seconds * 1000,
      silenceMs: config.silence_seconds * 1000,
      retryMs: config.retry_seconds * 1000,
      stopMs: config.shutdown_seconds * 1000,
    });
    this.#checks = new Checks(config.plugins, config.check_seconds * 1000);
    this.#submissions = new Submissions({ queue, kernel: host.kernel, config, capacity: this.capacity, checks: this.#checks, dir: state.submittedDir });
    const dirs = typeof config.configs === 'string' ? [config.configs] : config.configs;
    this.configs = new ConfigFolders({ dirs, submissions: this.#submissions, queue, database: state.database, log, queued: () => this.#dispatcher.wake() });
    host.kernel.on(() => this.configs.pluginsChanged());
    this.#swaps = new Swaps({ queue, runs: this.runs, checks: this.#checks, resolve: (source) => this.#submissions.resolve(source), dir: state.submittedDir, memoryLeft: (job) => this.#dispatcher.memoryLeft(job) });
  }

  /**
   * Takes the state folder, goes on with what was queued, and listens.
   * @throws GraftError `STATE_LOCKED`, `DATABASE_CORRUPT`, `QUEUE_UNKNOWN`, `PORT_IN_USE`, `HOST_UNPROTECTED`
   */
  static async start(config: DaemonConfig, log: Logger): Promise<Daemon> {
    if (!isLoopback(config.host)) throw new GraftError('HOST_UNPROTECTED', `The daemon listens on this machine alone, and ${config.host} is not 127.0.0.1, ::1 or localhost.`, { hint: 'Put a proxy that asks for credentials before it.' });
    const state = HostState.open(config.state_dir);
    let host: Host | undefined;
    let daemon: Daemon | undefined;
    try {
      host = await openHost({ pluginDirs: config.plugins, watch: true, log });
      daemon = new Daemon(config, state, host, await openQueue(config, host, state, log), log);
      await daemon.#backUp();
      await daemon.#dispatcher.start();
      await daemon.configs.start();
      await daemon.#listen(config);
      daemon.#backups = setInterval(() => void daemon!.#backUp(), BACKUP_MS).unref();
      return daemon;
    } catch (error) {
      await daemon?.stop().catch(() => undefined);
      if (daemon === undefined) {
        await host?.dispose();
        state.close();
      }
      throw error;
    }
  }

  get url(): string {
    return this.#api!.listeningOrigin;
  }

  /** @throws ConfigError and GraftError for whatever is wrong with the config, `DRAINING` */
  async submit(submission: Submission): Promise<readonly Job[]> {
    if (this.#dispatcher.draining) throw new GraftError('DRAINING', 'The daemon is ending, and takes nothing more.');
    const jobs = await this.#submissions.submit(submission);
    this.#dispatcher.wake();
    return jobs;
  }

  /** @returns undefined where the job's state does not allow it */
  async act(action: JobAction, id: string): Promise<Job | undefined> {
    const job = await JOB_ACTIONS[action].act(this.queue, id);
    if (job !== undefined) this.#dispatcher.notify(job);
    return job;
  }

  /**
   * Goes on with a job under another config, or by newer plugin code.
   * @returns undefined where the job's state does not allow it
   * @throws ConfigError and GraftError for whatever is wrong with the config or can't be swapped, `DRAINING`
   */
  async swap(job: Job, request: SwapRequest): Promise<SwapAnswer | undefined> {
    if (this.#dispatcher.draining) throw new GraftError('DRAINING', 'The daemon is ending, and swaps nothing any more.');
    const answer = await this.#swaps.swap(job, request);
    if (answer !== undefined) this.#dispatcher.notify(answer.job);
    return answer;
  }

  /** Forgets a job and what is known of its run; the run directory stays. */
  async remove(id: string): Promise<boolean> {
    const job = await this.queue.get(id);
    if (job === undefined || !(await this.queue.remove(id))) return false;
    this.runs.remove(id);
    const { runId } = runPayloadOf(job);
    for (const name of await readdir(this.#state.submittedDir)) if (name.startsWith(`${runId}.`)) await rm(join(this.#state.submittedDir, name), { force: true });
    return true;
  }

  describe(job: Job): DescribedJob {
    return { ...job, waitsFor: job.state === 'waiting' ? this.#waitsFor(job) : undefined, dir: this.runs.directory(job.id), standing: this.runs.standing(job.id), note: runPayloadOf(job).note };
  }

  get draining(): boolean {
    return this.#dispatcher.draining;
  }

  /** Why the host can't take work now, for machines; undefined where it can. */
  notReady(): string | undefined {
    if (this.draining) return 'draining';
    if (performance.now() - this.#probe.at < PROBE_MS) return this.#probe.problem;
    const attempt = (): string | undefined => {
      try {
        this.runs.probe();
        return undefined;
      } catch (error) {
        return `database: ${reasonOf(error)}`;
      }
    };
    this.#probe = { problem: attempt(), at: performance.now() };
    return this.#probe.problem;
  }

  /** Takes nothing more, lets runs checkpoint, and lets go of everything. */
  async stop(): Promise<void> {
    clearInterval(this.#backups);
    try {
      const closing = this.configs.close();
      await this.#checks.dispose();
      await closing;
      await this.#dispatcher.drain();
      await this.#api?.close();
      await this.#host.dispose();
    } finally {
      this.#state.close();
    }
  }

  #waitsFor(job: Job): string | undefined {
    const wait = job.dueAt - Date.now();
    if (wait > 0) return `Its next attempt begins in ${Math.ceil(wait / 1000)} s.${job.reason === undefined ? '' : ` ${job.reason}`}`;
    return this.#dispatcher.draining ? 'The daemon is ending.' : this.#dispatcher.waits.get(job.id);
  }

  async #listen({ host, port }: DaemonConfig): Promise<void> {
    const token = randomBytes(32).toString('base64url');
    this.#api = buildApi(this, token);
    try {
      await this.#api.listen({ host, port });
    } catch (error) {
      const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      throw new GraftError(taken ? 'PORT_IN_USE' : 'LISTEN_FAILED', taken ? `Port ${port} on ${host} is in use by another program.` : `The daemon can't listen on ${host}:${port}: ${reasonOf(error)}.`, { hint: 'Name another port, or 0 for any that is free.', cause: error });
    }
    await this.#state.writeAddress({ url: this.url, token, pid: process.pid, version: packageJson.version });
  }

  async #backUp(): Promise<void> {
    try {
      await this.#state.backUp();
    } catch (error) {
      this.log.error(`The database can't be backed up: ${reasonOf(error)}`);
    }
  }
}

async function openQueue(config: DaemonConfig, host: Host, state: HostState, log: Logger): Promise<Queue> {
  const names = host.kernel.names('queue:');
  if (!names.includes(`queue:${config.queue}`)) throw new GraftError('QUEUE_UNKNOWN', `There is no queue plugin ${config.queue}; there are ${names.map((name) => name.slice('queue:'.length)).join(', ')}.`);
  const lease = host.kernel.leaseToken<QueueProvider>(`queue:${config.queue}`, { pinned: true });
  return lease.value.open({ database: state.database, log });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}
