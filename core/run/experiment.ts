import { isDeepStrictEqual } from 'node:util';
import type { Dataset, Graft, Kernel, Logger, Resumption, TrainEvent } from '../contracts/index.ts';
import type { RunConfig } from '../config/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { saveAdapters, trainablesOf } from './adapters.ts';
import { CheckpointFolder, CheckpointWriter, type RunCheckpoint } from './checkpoints.ts';
import { EventLog, Events, type Subscriber } from './events.ts';
import { fingerprintOf } from './fingerprint.ts';
import { originsOf, type GraftOrigin } from './graft-origin.ts';
import { readHistory, resultOf } from './history.ts';
import { peakMemory, resetPeakMemory } from './peak-memory.ts';
import { writeReport } from './reporters/html.ts';
import { RunDirectory, type RunRecord } from './run-directory.ts';
import { emitSamples } from './samples.ts';
import { Session, placed, type InjectedStack } from './session.ts';
import { beginSpan, dataOf, incomparableUntil, lastOfTrainables, spanOf, spansOf, swappedEvent } from './spans.ts';

/** The stack that a run trains. */
const STACK = 'run';
const DEFAULT_SAMPLES = 2;

export interface ExperimentHost {
  readonly kernel: Kernel;
  readonly log: Logger;
  readonly cacheDir: string;
  /** Stops the run at the next step boundary, checkpointed. */
  readonly signal: AbortSignal;
  readonly subscribers: readonly Subscriber[];
}

export interface ExperimentOptions {
  /** A run directory to go on with; the config must be the one inside it, unless it is to be swapped. */
  readonly resume?: string;
  /** Names the swap that the config is: from the checkpoint on, once training goes on, the run is under it. */
  readonly swap?: string;
  /** Name of the directory of a new run; one that is made up by default. */
  readonly id?: string;
  /** Examples to be answered at the end by the base and by the result; default 2. */
  readonly samples?: number;
}

/** How a run ended. */
export interface Outcome {
  readonly dir: string;
  readonly record: RunRecord;
  /** What was thrown while training. */
  readonly error?: unknown;
}

/**
 * One run from beginning to end: open, preprocess, inject, train, save, sample, report.
 *
 * What goes wrong while training is recorded and returned, for then there is a run to look at and to go on with. What goes
 * wrong before is thrown, and a new run leaves no directory behind.
 *
 * @throws GraftError `RUN_LOCKED`, `NOT_A_RUN`, `RUN_FINISHED`, `RESUME_DATA_CHANGED`, and what the plugins refuse
 */
export async function runExperiment(config: RunConfig, host: ExperimentHost, options: ExperimentOptions = {}): Promise<Outcome> {
  const directory = options.resume === undefined ? await RunDirectory.create(config, options.id, options.swap === undefined ? undefined : [options.swap]) : await reopen(options.resume);
  let run: Experiment | undefined;
  try {
    run = await Experiment.begin(config, directory, host, options);
    try {
      await run.carryOut();
      return { dir: directory.dir, record: directory.record, error: run.error };
    } finally {
      await run.end();
    }
  } catch (error) {
    // What has been trained stays, whatever could not be written at the end.
    if (options.resume === undefined && run?.hasTrained !== true) await directory.discard();
    else await directory.update({ status: host.signal.aborted ? 'cancelled' : 'failed', reason: reasonOf(error), code: GraftError.is(error) ? error.code : undefined });
    throw error;
  } finally {
    directory.release();
  }
}

async function reopen(dir: string): Promise<RunDirectory> {
  const directory = await RunDirectory.open(dir);
  if (directory.record.status !== 'succeeded') return directory;
  directory.release();
  throw new GraftError('RUN_FINISHED', `The run in ${dir} has finished: there is nothing to resume.`, { hint: 'Start a new one with `graft run`.' });
}

class Experiment {
  /** What was thrown while training. */
  error: unknown;
  /** Whether training has begun: from then on there is a run to go on with. */
  hasTrained = false;
  readonly #config: RunConfig;
  readonly #directory: RunDirectory;
  readonly #host: ExperimentHost;
  readonly #options: ExperimentOptions;
  readonly #checkpoints: CheckpointFolder;
  readonly #from: RunCheckpoint | undefined;
  readonly #events: Events;
  readonly #eventLog: EventLog;
  readonly #began = performance.now();
  #session: Session | undefined;
  /** What run.json will say once the run has been swapped: until then it is under the config that it had. */
  #staged: Partial<RunRecord> = {};
  #swapping: boolean;

  private constructor(config: RunConfig, directory: RunDirectory, host: ExperimentHost, options: ExperimentOptions, checkpoints: CheckpointFolder, from: RunCheckpoint | undefined) {
    this.#config = config;
    this.#directory = directory;
    this.#host = host;
    this.#options = options;
    this.#checkpoints = checkpoints;
    this.#from = from;
    this.#swapping = options.swap !== undefined && options.resume !== undefined;
    this.#rateCheckpoints();
    this.#eventLog = new EventLog(directory.eventsFile, from?.eventBytes ?? 0);
    this.#events = new Events(host.log);
    this.#events.subscribe(this.#eventLog);
    host.subscribers.forEach((subscriber) => this.#events.subscribe(subscriber));
  }

  /** Cleans up what a killed process left, and finds where to go on. */
  static async begin(config: RunConfig, directory: RunDirectory, host: ExperimentHost, options: ExperimentOptions): Promise<Experiment> {
    resetPeakMemory();
    const checkpoints = new CheckpointFolder(directory.checkpointsDir);
    const leftovers = await checkpoints.cleanUp();
    const from = await checkpoints.latest();
    const run = new Experiment(config, directory, host, options, checkpoints, from);
    leftovers.forEach((message) => run.#log('warn', message));
    if (options.resume !== undefined) await run.#resumed();
    return run;
  }

  /** The recipe. */
  async carryOut(): Promise<void> {
    const session = await this.#open();
    const dataset = await session.preprocess();
    await this.#recordData(dataset);
    const injected = await session.inject(STACK, { from: this.#from?.graftsDir, saved: this.#isOfNow() ? undefined : this.#from?.trainables });
    await this.#plan(session, dataset, injected);
    this.hasTrained = true;
    try {
      const ended = await this.#train(session, dataset, injected);
      if (ended.reason === 'cancelled') return await this.#record('cancelled', { reason: `It was stopped after step ${ended.step}.` });
      const adapters = await saveAdapters(injected.grafts, this.#directory.adaptersDir, this.#origins());
      await this.#directory.update({ adapters: adapters.map((folder) => `adapters/${folder}`) });
      await emitSamples(session, STACK, dataset, this.#options.samples ?? DEFAULT_SAMPLES, this.#host.signal, (event) => this.#events.emit(event));
      await this.#record('succeeded');
    } catch (error) {
      this.error = error;
      await this.#record('failed', { reason: reasonOf(error), code: GraftError.is(error) ? error.code : undefined });
    }
  }

  async end(): Promise<void> {
    const { status, reason, id } = this.#directory.record;
    this.#events.emit({ type: 'run-ended', run: id, status: status === 'running' ? 'failed' : status, reason, seconds: (performance.now() - this.#began) / 1000 });
    this.#eventLog.close();
    try {
      if (status !== 'running') await writeReport(this.#directory);
    } finally {
      await this.#session?.dispose();
    }
  }

  async #open(): Promise<Session> {
    const { id, name } = this.#directory.record;
    const host = { ...this.#host, emit: this.#events.emit.bind(this.#events) };
    this.#session = await Session.open(this.#config, host, ({ engine, reason }) =>
      this.#events.emit({ type: 'run-started', run: id, dir: this.#directory.dir, name, engine: `${engine.info.name} (${engine.info.detail})`, reason }),
    );
    const { info } = this.#session.engine;
    const before = this.#directory.record.engine;
    if (before !== undefined && before.detail !== info.detail) this.#log('warn', `The run began on ${before.name} (${before.detail}) and goes on with ${info.name} (${info.detail}), which rounds otherwise: the losses that follow are not to the last digit what they would have been.`);
    await this.#directory.update({ engine: { ...info, reason: this.#session.engineReason } });
    return this.#session;
  }

  async #recordData(dataset: Dataset): Promise<void> {
    const fingerprint = fingerprintOf(dataset);
    const before = this.#directory.record.data?.fingerprint;
    if (!this.#swapping && this.#from !== undefined && before !== undefined && before !== fingerprint) {
      throw new GraftError('RESUME_DATA_CHANGED', `The training data is not what the run in ${this.#directory.dir} began with, so it cannot go on as if nothing had happened.`, {
        hint: 'Bring the data files back as they were, or start a new run.',
      });
    }
    await this.#keep({ data: { ...dataset.stats, ...(dataset.preferences === true ? { preferences: true } : {}), sequences: dataset.train.length, evalSequences: dataset.eval.length, fingerprint } });
  }

  async #plan(session: Session, dataset: Dataset, { grafts }: InjectedStack): Promise<void> {
    const { hook, entry } = session.trainer();
    try {
      const plan = hook.plan({ config: entry.options, dataset, grafts, model: session.model, seed: this.#config.seed });
      await this.#recordGenerations(session);
      await this.#keep({ plan, trainables: trainablesOf(grafts) });
      this.#events.emit({ type: 'plan', plan });
    } catch (error) {
      throw placed(this.#config, entry, error);
    }
  }

  async #train(session: Session, dataset: Dataset, { grafts, stack }: InjectedStack): Promise<Extract<TrainEvent, { type: 'train-ended' }>> {
    const { hook, entry } = session.trainer();
    const checkpoints = new CheckpointWriter(this.#checkpoints, grafts, () => this.#eventLog.sync(), this.#origins());
    const training = hook.train({ ...session.call(entry), model: session.model, dataset, grafts, stack, checkpoints, resume: this.#resumption(grafts) });
    let ended: Extract<TrainEvent, { type: 'train-ended' }> | undefined;
    for await (const event of training) {
      if (this.#swapping) await this.#swap(grafts);
      this.#events.emit(event);
      this.#eventLog.check();
      if (event.type === 'checkpoint') await writeReport(this.#directory);
      if (event.type === 'train-ended') ended = event;
    }
    if (ended === undefined) throw new GraftError('TRAIN_UNFINISHED', `The train plugin ${entry.use} stopped without saying why (it yields train-ended last).`);
    return ended;
  }

  #origins(): readonly GraftOrigin[] {
    return originsOf(this.#config.inject, this.#host.kernel);
  }

  async #keep(change: Partial<RunRecord>): Promise<void> {
    if (this.#swapping) this.#staged = { ...this.#staged, ...change };
    else await this.#directory.update(change);
  }

  /** Whether the checkpoint was made under the config that the run is under now. */
  #isOfNow(): boolean {
    const spans = spansOf(this.#directory.record);
    return !this.#swapping && (this.#from === undefined || spanOf(spans, this.#from.step) === spans.at(-1));
  }

  /** The checkpoint, and what of it goes on where the run is under another config now. */
  #resumption(grafts: readonly Graft[]): Resumption | undefined {
    if (this.#from === undefined || this.#isOfNow()) return this.#from;
    const spans = spansOf(this.#directory.record);
    const now = this.#swapping ? { seed: this.#config.seed, fingerprint: this.#staged.data!.fingerprint } : spans.at(-1)!;
    return { ...this.#from, swapped: dataOf(spanOf(spans, this.#from.step), now), otherTrainables: this.#areOthers(grafts) };
  }

  #areOthers(grafts: readonly Graft[]): boolean {
    const saved = this.#from?.trainables;
    return saved !== undefined && !isDeepStrictEqual(saved, trainablesOf(grafts));
  }

  /** What of its checkpoints the run's history makes incomparable, and which are to stay. */
  #rateCheckpoints(): void {
    const spans = spansOf(this.#directory.record);
    this.#checkpoints.ratedAfter = incomparableUntil(spans);
    this.#checkpoints.kept = lastOfTrainables(spans);
  }

  /** Training has gone on under the new config: from now on it is the run's. */
  async #swap(grafts: readonly Graft[]): Promise<void> {
    this.#swapping = false;
    const { data, generations } = this.#staged;
    const span = { fromStep: this.#from?.step ?? 0, seed: this.#config.seed, fingerprint: data!.fingerprint, generations: generations!, ...(this.#areOthers(grafts) ? { otherTrainables: true } : {}) };
    await beginSpan(this.#directory, this.#config, this.#options.swap!, span, this.#staged);
    this.#rateCheckpoints();
    await this.#tellSwapped();
  }

  async #tellSwapped(): Promise<void> {
    const event = await swappedEvent(this.#directory.dir, this.#directory.record);
    if (event !== undefined) this.#events.emit(event);
  }

  async #record(status: 'succeeded' | 'failed' | 'cancelled', why: { readonly reason?: string; readonly code?: string } = {}): Promise<void> {
    const estimated = this.#directory.record.plan?.peakMemoryBytes ?? 0;
    await this.#directory.update({
      status,
      ...why,
      endedAt: new Date().toISOString(),
      memory: { estimatedPeakBytes: estimated, measuredPeakBytes: peakMemory() },
      result: resultOf(readHistory(this.#directory.eventsFile)),
    });
  }

  /** A plugin that has changed since the run began may well compute something else: the run goes on, and says so. */
  async #recordGenerations(session: Session): Promise<void> {
    const before = this.#directory.record.generations;
    for (const { plugin, hash } of session.generations.values()) {
      const earlier = before[plugin]?.hash;
      if (!this.#swapping && earlier !== undefined && earlier !== hash) this.#log('warn', `The plugin ${plugin} has changed since the run began (${earlier.slice(0, 12)} is now ${hash.slice(0, 12)}): what follows may differ from what would have been.`);
    }
    await this.#keep({ generations: Object.fromEntries([...session.generations.values()].map(({ plugin, version, hash }) => [plugin, { version, hash }])) });
  }

  /** The checkpoint was told of after it had been written, in events that are cut off. */
  async #resumed(): Promise<void> {
    const step = this.#from?.step ?? 0;
    if (this.#from !== undefined) this.#events.emit({ type: 'checkpoint', step, dir: this.#from.dir, best: (await this.#checkpoints.best())?.step === step });
    this.#log('info', step === 0 ? 'Resumed from the beginning: there was no whole checkpoint.' : `Resumed from the checkpoint of step ${step}.`);
    const { resumed, spans } = this.#directory.record;
    if (!this.#swapping && spans?.at(-1)?.fromStep === step) await this.#tellSwapped();
    await this.#directory.update({ status: 'running', reason: undefined, code: undefined, endedAt: undefined, resumed: [...resumed, { at: new Date().toISOString(), step }] });
  }

  #log(level: 'info' | 'warn', message: string): void {
    this.#events.emit({ type: 'log', level, message });
  }
}
