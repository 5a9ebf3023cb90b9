/** Another config, or newer plugin code, for a job that is under way. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import type { Job, Queue } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { writeText } from '../run/durable.ts';
import { readRunRecord, type RunRecord } from '../run/run-directory.ts';
import type { CheckProcess, Checks } from './check-process.ts';
import type { CheckedConfig } from './checked-config.ts';
import { runPayloadOf, type ConfigSource, type RunPayload } from './run-payload.ts';
import type { RunStore } from './run-store.ts';
import { baseOf, submittedText } from './submissions.ts';

export interface SwapRequest {
  /** Absolute path; without it the config that was submitted is read again from where it was. */
  readonly config?: string;
  readonly set?: readonly string[];
  readonly cwd?: string;
}

export interface SwapAnswer {
  readonly job: Job;
  /** What a person should know of it, a sentence each. */
  readonly notes: readonly string[];
}

export interface SwapsOptions {
  readonly queue: Queue;
  readonly runs: RunStore;
  readonly checks: Checks;
  /** Configs of runs that have not trained. */
  readonly resolve: (source: ConfigSource) => Promise<readonly CheckedConfig[]>;
  /** Where configs are kept as they were submitted. */
  readonly dir: string;
  /** MiB that trying a config out may take beside what runs. */
  readonly memoryLeft: (job: Job) => number;
}

/** A rehearsal that ended so says nothing about the config. */
const UNDECIDED: ReadonlySet<string> = new Set(['CHECK_TIMEOUT', 'CHECK_MEMORY']);

export class Swaps {
  readonly #options: SwapsOptions;

  constructor(options: SwapsOptions) {
    this.#options = options;
  }

  /**
   * Decides whether the run can go on under the config while it still goes on under the old one, and then asks for it.
   * @returns undefined where the job's state does not allow it
   * @throws ConfigError and GraftError for whatever is wrong with the config or can't be swapped: `SWAP_BASE`, `SWAP_TRAINER`, `SWAP_NOTHING`, `SWAP_SWEEP`, `SWAP_CORES`, `NO_TRAIN`
   */
  async swap(job: Job, request: SwapRequest): Promise<SwapAnswer | undefined> {
    const { queue, runs, checks, dir, memoryLeft } = this.#options;
    if (job.state === 'succeeded' || job.request === 'cancel') return undefined;
    const payload = runPayloadOf(job);
    const runDir = runs.directory(job.id);
    const record = runDir !== undefined && existsSync(join(runDir, 'run.json')) ? await readRunRecord(runDir) : undefined;
    const { source, note } = sourceOf(payload, request);
    const notes = note === undefined ? [] : [note];
    const id = randomBytes(4).toString('hex');
    const configFile = join(dir, `${payload.runId}.${id}.yaml`);
    let base: Pick<RunPayload, 'base'> = {};
    const write = async (config: CheckedConfig): Promise<void> => {
      base = { base: undefined, ...baseOf(config) };
      if (runDir !== undefined && config.runsDir !== dirname(runDir) && request.config !== undefined) notes.push(`The run stays in ${runDir}.`);
      await writeText(configFile, submittedText(source, { ...config.resolved, name: job.name, runs_dir: runDir === undefined ? config.runsDir : dirname(runDir) }));
    };
    try {
      let halvings = 0;
      if (record?.trainables === undefined) {
        // What has not trained has nothing to go on with.
        await write(choose(await this.#options.resolve(source), job, source));
      } else {
        await checks.within(async (check) => {
          const config = choose(await check.resolve(source), job, source);
          await write(config);
          halvings = await halvingsOf(payload, config);
          notes.push(...(await rehearsed(check, { configFile, dir: runDir!, halvings, threads: Math.max(1, Math.floor(job.resources.cpu)) })));
        }, memoryLeft(job));
      }
      const begun = record !== undefined || job.attempts > 0;
      const next: RunPayload = {
        ...payload,
        ...base,
        ...{ configFile, halvings, note: undefined },
        source: isRecorded(source, payload) ? payload.source : source,
        swap: begun ? { id, back: backOf(payload, record) } : undefined,
      };
      const swapped = await queue.swap(job.id, { ...next });
      if (swapped === undefined || !begun) await rm(swapped === undefined ? configFile : payload.configFile, { force: true });
      return swapped && { job: swapped, notes };
    } catch (error) {
      await rm(configFile, { force: true });
      throw error;
    }
  }
}

/** What is read: the file named, else the one that was submitted, else what was kept of it. */
function sourceOf(payload: RunPayload, { config, set = [], cwd }: SwapRequest): { readonly source: ConfigSource; readonly note?: string } {
  if (config !== undefined) return { source: { config, set, cwd } };
  const { source } = payload;
  if (source !== undefined && existsSync(source.config)) return { source: { config: source.config, set: [...(source.set ?? []), ...set], cwd: (source.set ?? []).length > 0 ? source.cwd : (cwd ?? source.cwd) } };
  const note = source === undefined ? 'Where the config was submitted from is not known' : `There is no ${source.config} any more`;
  return { source: { config: payload.configFile, set }, note: `${note}: it is the config as it was submitted.` };
}

function isRecorded({ config }: ConfigSource, { configFile }: RunPayload): boolean {
  return config === configFile;
}

/** Of a sweep the combination that the job is. */
function choose(configs: readonly CheckedConfig[], { name, resources }: Job, { config: file }: ConfigSource): CheckedConfig {
  const config = configs.length === 1 ? configs[0]! : configs.find((each) => each.name === name);
  if (config === undefined) {
    throw new GraftError('SWAP_SWEEP', `${file} is a sweep of ${configs.length} runs, and none of them is called ${name}.`, { hint: `There are ${configs.slice(0, 5).map((each) => each.name).join(', ')}${configs.length > 5 ? ' and more' : ''}.` });
  }
  if (!config.trains) throw new GraftError('NO_TRAIN', `The config ${file} has no \`train:\` entry, so there is nothing to run.`, { hint: 'Add one, such as train: { use: sft }.' });
  if (config.threads !== undefined && config.threads > resources.cpu) {
    throw new GraftError('SWAP_CORES', `The config computes with ${config.threads} threads, and its job has ${resources.cpu} cores.`, { hint: 'Set engine.threads to as many at most, or to auto, or submit a new run.' });
  }
  return config;
}

/** @returns what a person should know, and what could not be found out */
async function rehearsed(check: CheckProcess, order: Parameters<CheckProcess['rehearse']>[0]): Promise<readonly string[]> {
  try {
    return await check.rehearse(order);
  } catch (error) {
    if (!GraftError.is(error) || !UNDECIDED.has(error.code)) throw error;
    return [`Whether the run can go on so is not known before it is stopped: ${error.message} Where it can't, the swap is undone.`];
  }
}

/** Passes that were made smaller for want of memory stay so, unless the config says something else about them. */
async function halvingsOf({ configFile, halvings }: RunPayload, { resolved }: CheckedConfig): Promise<number> {
  if (halvings === 0) return 0;
  const tokens = (config: unknown): unknown => (config as { readonly train?: { readonly micro_batch_tokens?: unknown } }).train?.micro_batch_tokens;
  return tokens(parse(await readFile(configFile, 'utf8'))) === tokens(resolved) ? halvings : 0;
}

/** What a job is without its note; and without a swap that has been made, which can't be undone any more. */
function backOf({ note: _note, swap, ...payload }: RunPayload, record: RunRecord | undefined): RunPayload {
  return swap === undefined || record?.swaps?.includes(swap.id) === true ? payload : { ...payload, swap };
}
