/** The host: a queue of runs, the processes that they run in, and what is known of them, for as long as it is left running. */
import { readdir, rm } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import packageJson from '../../package.json' with { type: 'json' };
import type { Job, JobState, KernelReport, Logger, Outcome, Queue, QueueProvider, Resources } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { buildApi } from './api.ts';
import { Checks } from './check-process.ts';
import { ConfigFolders } from './config-folders.ts';
import { cleanUp } from './cleanup.ts';
import { baseId, capacityOf, type DaemonConfig } from './daemon-config.ts';
import type { DescribedJob } from './described-job.ts';
import { Dispatcher } from './dispatcher.ts';
import { lackOfSpace } from './full-disk.ts';
import { InFlight } from './in-flight.ts';
import { compareGroup, type Group } from './group.ts';
import { Housekeeping } from './housekeeping.ts';
import { checkpointsDirOf } from '../run/run-directory.ts';
import { JOB_ACTIONS, type JobAction } from './job-action.ts';
import { AdapterStore } from './models/adapter-store.ts';
import { Models } from './models/models.ts';
import { ServingMetrics } from './models/serving-metrics.ts';
import { FileStore } from './openai/file-store.ts';
import { FineTuningStore } from './openai/fine-tuning-store.ts';
import type { OpenAiParts } from './openai/routes.ts';
import { HostMetrics } from './metrics.ts';
import { GRAFT_HOME, openHost, type Host } from './open-host.ts';
import { withoutPlaces } from './places.ts';
import { runPayloadOf } from './run-payload.ts';
import { RunStore } from './run-store.ts';
import { Systemd } from './sd-notify.ts';
import { HostState } from './state.ts';
import { Submissions, type EnqueueOptions, type Submission } from './submissions.ts';
import { Swaps, type SwapAnswer, type SwapRequest } from './swaps.ts';
import { Access } from './trust/access.ts';
import { ApiKeys } from './trust/api-keys.ts';
import { isLoopback } from './trust/origin.ts';
import { newToken } from './trust/secret.ts';

const MIB = 2 ** 20;
const UNENDED: readonly JobState[] = ['waiting', 'running', 'paused'];
/** Milliseconds that a look at whether the database can be written is good for. */
const PROBE_MS = 1000;
/** Runs of a group that are shown beside each other, the newest. */
const MOST_COMPARED = 1000;

export class Daemon {
  readonly queue: Queue;
  readonly keys: ApiKeys;
  readonly runs: RunStore;
  readonly adapters: AdapterStore;
  readonly files: FileStore;
  readonly fineTuning: FineTuningStore;
  readonly models: Models;
  readonly log: Logger;
  readonly capacity: Resources;
  readonly #config: DaemonConfig;
  readonly metrics: HostMetrics;
  readonly #serving: ServingMetrics;
  readonly configs: ConfigFolders;
  readonly #state: HostState;
  readonly #host: Host;
  readonly #dispatcher: Dispatcher;
  readonly #checks: Checks;
  readonly #submissions: Submissions;
  readonly #swaps: Swaps;
  #api: FastifyInstance | undefined;
  readonly #inFlight = new InFlight();
  readonly #housekeeping: Housekeeping;
  readonly #systemd: Systemd | undefined;
  #probe: { readonly at: number; readonly problem: string | undefined } = { at: Number.NEGATIVE_INFINITY, problem: undefined };

  private constructor(config: DaemonConfig, state: HostState, host: Host, queue: Queue, log: Logger) {
    this.#state = state;
    this.#host = host;
    this.log = log;
    this.queue = queue;
    this.keys = new ApiKeys(state.database);
    this.runs = new RunStore(state.database);
    this.capacity = capacityOf(config);
    this.#config = config;
    this.adapters = new AdapterStore(state.database);
    this.files = new FileStore(join(state.dir, 'files'), state.database, config.uploads.total_mb * MIB, (sentence) => log.warn(sentence));
    this.fineTuning = new FineTuningStore(state.database);
    this.metrics = new HostMetrics({
      log,
      capacity: this.capacity,
      jobs: () => queue.count(),
      taken: () => this.#dispatcher.taken,
      writable: () => this.#probed() === undefined,
      ready: () => this.notReady() === undefined,
    });
    host.kernel.on((event) => this.metrics.kernelTold(event));
    this.#dispatcher = new Dispatcher({
      holder: config.state_dir,
      queue,
      runs: this.runs,
      log,
      metrics: this.metrics,
      pluginDirs: config.plugins,
      capacity: this.capacity,
      rules: { ageingMs: config.ageing_minutes * 60_000, reserveMs: config.reserve_minutes * 60_000 },
      leaseMs: config.lease_seconds * 1000,
      silenceMs: config.silence_seconds * 1000,
      retryMs: config.retry_seconds * 1000,
      stopMs: config.shutdown_seconds * 1000,
      published: (job) => this.#keepAdapter(job),
      writtenDirs: [config.state_dir, host.cacheDir],
    });
    this.models = new Models({ config, adapters: this.adapters, log, counted: (base, counts) => this.#serving.counted(base, counts), fell: (base) => this.#serving.fell(base), checkpoint: (name, step) => this.#checkpointOf(name, step) });
    this.#serving = new ServingMetrics(this.metrics.registry, () => this.models.processes);
    this.#housekeeping = new Housekeeping({ log, queue, runs: this.runs, files: this.files, readerOf: (file) => this.#readerOf(file), keepDays: config.keep_days, backUp: () => state.backUp() });
    this.#systemd = Systemd.of({ log, status: () => this.#status() });
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
    const state = HostState.open(config.state_dir);
    let host: Host | undefined;
    let daemon: Daemon | undefined;
    try {
      refuseUnprotected(config, state);
      host = await openHost({ pluginDirs: config.plugins, watch: true, log, setupMs: config.setup_seconds * 1000 });
      const queue = await openQueue(config, host, state, log);
      daemon = new Daemon(config, state, host, queue, log);
      await cleanUp({ stateDir: state.dir, submittedDir: state.submittedDir, runDirs: daemon.runs.directories(), queue, queueName: config.queue, database: state.database, log });
      await daemon.#housekeeping.start();
      await daemon.#dispatcher.start();
      await daemon.configs.start();
      await daemon.#listen(config);
      await daemon.#systemd?.ready();
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
  async submit(submission: Submission, options?: EnqueueOptions): Promise<readonly Job[]> {
    if (this.#dispatcher.draining) throw new GraftError('DRAINING', 'The daemon is ending, and takes nothing more.');
    const jobs = await this.#submissions.submit(submission, options);
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
    const forget = (): void => {
      this.runs.remove(id);
      this.fineTuning.remove(id);
    };
    if (job === undefined || !(await this.queue.remove(id, forget))) return false;
    const { runId } = runPayloadOf(job);
    for (const name of await readdir(this.#state.submittedDir)) if (name.startsWith(`${runId}.`)) await rm(join(this.#state.submittedDir, name), { force: true });
    return true;
  }

  describe(job: Job): DescribedJob {
    const unwritten = this.#dispatcher.unwritten(job.id);
    return { ...job, ...(unwritten === undefined ? {} : shown(unwritten)), waitsFor: job.state === 'waiting' ? this.#waitsFor(job) : undefined, dir: this.runs.directory(job.id), standing: this.runs.standing(job.id), note: runPayloadOf(job).note };
  }

  /** What OpenAI's routes stand on. */
  openAi(): OpenAiParts {
    const { files, runs, models, log } = this;
    const { uploads } = this.#config;
    return {
      ...{ files, models, log },
      inFlight: this.#inFlight,
      draining: () => this.draining,
      answered: (answered) => this.#serving.answered(answered),
      fileBytes: uploads.file_mb * MIB,
      readerOf: (id) => this.#readerOf(id),
      limits: { lineBytes: uploads.line_kb * 1024, rows: uploads.rows, depth: uploads.depth },
      fineTuning: {
        ...{ files, runs },
        store: this.fineTuning,
        bases: this.#config.models,
        configsDir: this.#state.submittedDir,
        runsDir: join(this.#state.dir, 'runs'),
        submit: (submission, options) => this.submit(submission, options),
        job: async (id) => {
          const job = await this.queue.get(id);
          return job === undefined ? undefined : this.describe(job);
        },
        act: (action, id) => this.act(action, id),
        schema: (stage, name) => this.#host.kernel.schema(stage, name),
        told: withoutPlaces(this.#places()),
      },
    };
  }

  /** What the host knows of its plugins, and of edits that were refused. */
  plugins(): KernelReport {
    return this.#host.kernel.explain();
  }

  /** @returns undefined where no job is in it */
  async group(name: string): Promise<Group | undefined> {
    const jobs = await this.queue.list({ group: name, limit: MOST_COMPARED });
    return jobs.length === 0 ? undefined : compareGroup(jobs.map((job) => this.describe(job)));
  }

  get draining(): boolean {
    return this.#dispatcher.draining;
  }

  /** Why the host can't take work now, for machines; undefined where it can. */
  notReady(): string | undefined {
    if (this.draining) return 'draining';
    const waiting = this.models.processes.find(({ state }) => state !== 'serving');
    return this.#probed() ?? lackOfSpace(this.#state.dir) ?? (waiting === undefined ? undefined : `model ${waiting.id}: ${waiting.state}`);
  }

  /** Why the database can't be written; undefined where it can. */
  #probed(): string | undefined {
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
    try {
      void this.#systemd?.stopping();
      // From here on it is not ready, and starts nothing more.
      const drained = this.#dispatcher.drain();
      const closing = this.configs.close();
      await this.#checks.dispose();
      await closing;
      await Promise.all([drained, this.models.stop()]);
      // What the models have answered is still on its way to slow readers.
      await this.#inFlight.none(this.#config.shutdown_seconds * 1000);
      await this.#api?.close();
      await this.#host.dispose();
      await this.#systemd?.close();
    } finally {
      await this.#housekeeping.stop();
      this.#state.close();
    }
  }

  /** What a run has made can be served from now on, under a name like OpenAI's. Part of the transaction that ends the job. */
  #keepAdapter(job: Job): void {
    const { base, suffix = job.name } = runPayloadOf(job);
    const dir = this.runs.directory(job.id);
    if (base === undefined || dir === undefined) return;
    const id = this.models.idOf(base);
    this.adapters.put({ name: `ft:${id}:graft:${suffix}:${job.id}`, base: id, dir: join(dir, 'adapters'), job: job.id, createdAt: Date.now() });
  }

  /** Of a fine-tuning job, by the name that its result has or would have. */
  #checkpointOf(name: string, step: number): { readonly base: string; readonly dir: string; readonly job: string } | undefined {
    const job = name.slice(name.lastIndexOf(':') + 1);
    const [record, dir] = [this.fineTuning.get(job), this.runs.directory(job)];
    return record?.name !== name || dir === undefined ? undefined : { base: record.request.model, dir: join(checkpointsDirOf(dir), `step-${step}`, 'grafts'), job };
  }

  /** A fine-tuning job that has not ended, and needs an uploaded file. */
  async #readerOf(file: string): Promise<string | undefined> {
    if (this.files.held(file)) return 'that is being made';
    for (const { jobId } of this.fineTuning.using(file)) {
      const job = await this.queue.get(jobId);
      if (job !== undefined && UNENDED.includes(job.state)) return jobId;
    }
    return undefined;
  }

  /** What clients are told in place of folders. */
  #places(): ReadonlyMap<string, string> {
    const { dir } = this.#state;
    return new Map([[join(dir, 'files'), ''], [join(dir, 'runs'), 'runs'], [dir, 'state'], [this.#host.cacheDir, 'cache'], [GRAFT_HOME.replace(/\/$/, ''), 'graft'], ...this.#config.models.filter(({ model }) => isAbsolute(model)).map((base) => [base.model, baseId(base)] as const), ...this.#config.plugins.map((folder) => [folder, 'plugins'] as const)]);
  }

  #waitsFor(job: Job): string | undefined {
    const wait = job.dueAt - Date.now();
    if (wait > 0) return `Its next attempt begins in ${Math.ceil(wait / 1000)} s.${job.reason === undefined ? '' : ` ${job.reason}`}`;
    return this.#dispatcher.draining ? 'The daemon is ending.' : this.#dispatcher.waits.get(job.id);
  }

  async #listen({ host, port, http }: DaemonConfig): Promise<void> {
    const token = newToken();
    const access = new Access({ keys: this.keys, token, local: isLoopback(host), allowedHosts: http.allowed_hosts, allowedOrigins: http.allowed_origins });
    this.#api = buildApi(this, access, http);
    try {
      await this.#api.listen({ host, port });
    } catch (error) {
      const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      throw new GraftError(taken ? 'PORT_IN_USE' : 'LISTEN_FAILED', taken ? `Port ${port} on ${host} is in use by another program.` : `The daemon can't listen on ${host}:${port}: ${reasonOf(error)}.`, { hint: 'Name another port, or 0 for any that is free.', cause: error });
    }
    await this.#state.writeAddress({ url: this.url, token, pid: process.pid, version: packageJson.version });
  }

  /** For systemd; reads the database. */
  async #status(): Promise<string> {
    const { running, waiting, paused } = await this.queue.count();
    return `${running} ${running === 1 ? 'run' : 'runs'}, ${waiting} waiting, ${paused} paused`;
  }
}

async function openQueue(config: DaemonConfig, host: Host, state: HostState, log: Logger): Promise<Queue> {
  const names = host.kernel.names('queue:');
  if (!names.includes(`queue:${config.queue}`)) throw new GraftError('QUEUE_UNKNOWN', `There is no queue plugin ${config.queue}; there are ${names.map((name) => name.slice('queue:'.length)).join(', ')}.`);
  const lease = host.kernel.leaseToken<QueueProvider>(`queue:${config.queue}`, { pinned: true });
  return lease.value.open({ database: state.database, log });
}

/** Whoever can reach another address than this machine's own must bring a key, so there must be one. */
function refuseUnprotected({ host, state_dir }: DaemonConfig, state: HostState): void {
  if (isLoopback(host) || new ApiKeys(state.database).any) return;
  throw new GraftError('HOST_UNPROTECTED', `${host} can be reached by other machines, and there is no API key that they would have to bring.`, { hint: `Make one with \`graft keys add <name> --scope infer --state ${state_dir}\`, or listen on 127.0.0.1.` });
}

/** A job's state and why, as they will be when they can be written. */
function shown(outcome: Outcome): Pick<Job, 'state' | 'reason' | 'code'> {
  return outcome.state === 'succeeded' ? { state: outcome.state } : { state: outcome.state, reason: outcome.reason, code: outcome.code };
}
