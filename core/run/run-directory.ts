import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import type { DatasetStats, EngineInfo, TrainPlan } from '../contracts/index.ts';
import type { RunConfig } from '../config/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import type { TrainableShapes } from './adapters.ts';
import { ASIDE, syncFolder, writeJson, writeText } from './durable.ts';
import { lockRun } from './lock.ts';

const FORMAT = 1;

/** How a run ended; `running` in a directory that no process holds: it was killed. */
export type RunStatus = 'running' | 'succeeded' | 'failed' | 'cancelled';

/** run.json: what is known of a run, rewritten whole at each change. Times are ISO 8601, sizes bytes. */
export interface RunRecord {
  readonly format: typeof FORMAT;
  /** The directory's own name. */
  readonly id: string;
  readonly name: string;
  readonly status: RunStatus;
  /** Why it is not `succeeded`, a sentence. */
  readonly reason?: string;
  readonly code?: string;
  readonly startedAt: string;
  readonly endedAt?: string;
  /** Each time that it was resumed, and from which step. */
  readonly resumed: readonly { readonly at: string; readonly step: number }[];
  readonly seed: number;
  /** The file that the config was read from. */
  readonly configFile: string;
  readonly engine?: EngineInfo & { readonly reason: string };
  /** Version and content hash of every plugin generation that took part, by plugin. */
  readonly generations: Readonly<Record<string, { readonly version: string; readonly hash: string }>>;
  readonly data?: DatasetStats & { readonly preferences?: true; readonly sequences: number; readonly evalSequences: number; readonly fingerprint: string };
  readonly plan?: TrainPlan;
  /** Shapes (`8x32`) of what is trained, by the folder of the graft and the name: what checkpoints hold. */
  readonly trainables?: TrainableShapes;
  /** Once the config was swapped: which steps ran under which. */
  readonly spans?: readonly Span[];
  /** The swaps that have been made, by the names that whoever asked for them gave them. */
  readonly swaps?: readonly string[];
  /** Highest resident set of the process during the run. */
  readonly memory?: { readonly estimatedPeakBytes: number; readonly measuredPeakBytes: number };
  readonly result?: RunResult;
  /** Folders of the saved grafts, relative to the run directory, in the order of the config's `inject`. */
  readonly adapters?: readonly string[];
}

/** The steps that a run did under one config. */
export interface Span {
  /** Steps done before. */
  readonly fromStep: number;
  readonly at: string;
  /** Where it is kept, relative to the run directory. */
  readonly config: string;
  readonly seed: number;
  /** Of the data. */
  readonly fingerprint: string;
  readonly generations: RunRecord['generations'];
  /** Set where something else is trained than in the span before. */
  readonly otherTrainables?: boolean;
}

/** What a finished training came to; losses in nats per trained token. */
export interface RunResult {
  readonly steps: number;
  readonly reason: 'completed' | 'early-stopping' | 'cancelled';
  readonly loss: number;
  /** Before the first step. */
  readonly evalLossBefore?: number;
  readonly evalLoss?: number;
  /** Of the training loop, in this process. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

/** A run's folder, held by this process until released. */
export class RunDirectory {
  readonly dir: string;
  readonly #release: () => void;
  #record: RunRecord;

  private constructor(dir: string, record: RunRecord, release: () => void) {
    this.dir = dir;
    this.#record = record;
    this.#release = release;
  }

  /** Makes `<runsDir>/<id>/` with the config as it was resolved. */
  static async create(config: RunConfig, id = newRunId(config.name), swaps?: readonly string[]): Promise<RunDirectory> {
    const now = new Date();
    const dir = join(config.runsDir, id);
    try {
      await mkdir(config.runsDir, { recursive: true });
      await mkdir(dir);
    } catch (error) {
      throw new GraftError('RUN_DIRECTORY', `The run directory ${dir} cannot be made: ${reasonOf(error)}.`, { hint: 'Set runs_dir to a folder that can be written.', cause: error });
    }
    const release = lockRun(dir);
    const record: RunRecord = {
      format: FORMAT,
      id,
      name: config.name,
      status: 'running',
      startedAt: now.toISOString(),
      resumed: [],
      seed: config.seed,
      configFile: config.file,
      generations: {},
      swaps,
    };
    await writeText(configFileOf(dir), configText(config));
    await writeJson(join(dir, 'run.json'), record);
    await syncFolder(config.runsDir);
    return new RunDirectory(dir, record, release);
  }

  /**
   * Takes an existing run directory, to resume it.
   * @throws GraftError `NOT_A_RUN`, or `RUN_LOCKED` while another process writes it
   */
  static async open(dir: string): Promise<RunDirectory> {
    const absolute = resolve(dir);
    const record = await readRunRecord(absolute);
    const release = lockRun(absolute);
    for (const name of await readdir(absolute)) if (ASIDE.test(name)) await rm(join(absolute, name), { force: true });
    return new RunDirectory(absolute, record, release);
  }

  get record(): RunRecord {
    return this.#record;
  }

  get eventsFile(): string {
    return eventsFileOf(this.dir);
  }

  get checkpointsDir(): string {
    return checkpointsDirOf(this.dir);
  }

  get adaptersDir(): string {
    return join(this.dir, 'adapters');
  }

  get reportFile(): string {
    return join(this.dir, 'report.html');
  }

  /** Changes run.json, in one move. */
  async update(change: Partial<Omit<RunRecord, 'format' | 'id'>>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await writeJson(join(this.dir, 'run.json'), this.#record);
  }

  /** Removes all of it: of a run that never began. */
  async discard(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }

  release(): void {
    this.#release();
  }
}

/** `<name>-<timestamp>-<short id>`. */
export function newRunId(name: string): string {
  const stamp = new Date().toISOString().replace(/\..*/, '').replaceAll(/[-:]/g, '').replace('T', '-');
  return `${name}-${stamp}-${randomBytes(3).toString('hex')}`;
}

/** The events inside a run directory. */
export function eventsFileOf(dir: string): string {
  return join(resolve(dir), 'events.jsonl');
}

/** The checkpoints inside a run directory. */
export function checkpointsDirOf(dir: string): string {
  return join(resolve(dir), 'checkpoints');
}

/** What a run directory keeps of a config. */
export function configText({ file, resolved }: RunConfig): string {
  return `# Resolved from ${file}; \`graft resume\` goes on with this.\n${stringify(resolved)}`;
}

/** The config inside a run directory. */
export function configFileOf(dir: string): string {
  return join(resolve(dir), 'config.yaml');
}

/**
 * Reads run.json without taking the directory.
 * @throws GraftError `NOT_A_RUN`
 */
export async function readRunRecord(dir: string): Promise<RunRecord> {
  const path = join(resolve(dir), 'run.json');
  const notARun = (reason: string): GraftError => new GraftError('NOT_A_RUN', `${dir} is not a run directory: ${reason}.`, { hint: 'Name a folder that `graft run` made, such as runs/lora-20260101-120000-a1b2c3.' });
  if (!existsSync(dir) || !statSync(dir).isDirectory()) throw notARun('there is no such folder');
  if (!existsSync(path) || !existsSync(configFileOf(dir))) throw notARun('it has no run.json and config.yaml');
  try {
    const record = JSON.parse(await readFile(path, 'utf8')) as RunRecord;
    if (record.format !== FORMAT) throw notARun(`its run.json has format ${String(record.format)}, and this version reads ${FORMAT}`);
    return record;
  } catch (error) {
    throw GraftError.is(error) ? error : notARun(`its run.json cannot be read (${reasonOf(error)})`);
  }
}
