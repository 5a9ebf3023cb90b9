/** Configs in, jobs out: everything that can be wrong with a config is said before a job is made. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readPluginDirs, resolveConfigs } from '../config/index.ts';
import type { Job, Kernel, Queue, Resources } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { writeText } from '../run/durable.ts';
import { newRunId } from '../run/run-directory.ts';
import type { Checks } from './check-process.ts';
import { checkedConfig, type CheckedConfig } from './checked-config.ts';
import { resourcesOf, type DaemonConfig } from './daemon-config.ts';
import type { ConfigSource, RunPayload } from './run-payload.ts';

export interface Submission {
  /** Absolute path of a config file. */
  readonly config: string;
  /** Working directory of whoever submits: `runs/` is made there where the config names no other folder. */
  readonly cwd?: string;
  /** `path.to.option=value`. */
  readonly set?: readonly string[];
  readonly priority?: number;
  readonly max_attempts?: number;
  readonly resources?: Partial<Resources>;
  /** Default for the runs of a sweep: the config's name and the time. */
  readonly group?: string;
  /** Of the name under which the result is served. Default: the run's name. */
  readonly suffix?: string;
}

export interface EnqueueOptions {
  /** Kept with the jobs. */
  readonly digest?: string;
  /** Keeps what else is to be known of the jobs, in the transaction that makes them. */
  readonly made?: (jobs: readonly Job[]) => void;
}

export interface SubmissionsOptions {
  readonly queue: Queue;
  readonly kernel: Kernel;
  readonly config: DaemonConfig;
  readonly capacity: Resources;
  readonly checks: Checks;
  /** Where configs are kept as they were submitted. */
  readonly dir: string;
}

export class Submissions {
  readonly #options: SubmissionsOptions;

  constructor(options: SubmissionsOptions) {
    this.#options = options;
  }

  /**
   * A job for each combination of the config's sweep, all of them or none.
   * @throws ConfigError and GraftError for whatever is wrong with the config; `NO_TRAIN`
   */
  async submit(submission: Submission, options: EnqueueOptions = {}): Promise<readonly Job[]> {
    return this.enqueue(await this.resolve(sourceOf(submission)), submission, options);
  }

  /** The same with a config that has been resolved. */
  async enqueue(configs: readonly CheckedConfig[], submission: Submission, { digest, made }: EnqueueOptions = {}): Promise<readonly Job[]> {
    const { queue, config, capacity, dir } = this.#options;
    const source = sourceOf(submission);
    const first = configs[0]!;
    if (!first.trains) throw new GraftError('NO_TRAIN', `The config ${submission.config} has no \`train:\` entry, so there is nothing to run.`, { hint: 'Add one, such as train: { use: sft }.' });
    const group = submission.group ?? (configs.length > 1 ? newRunId(first.experiment) : undefined);
    const prepared = configs.map((each) => {
      const runId = newRunId(each.name);
      return { each, payload: { runId, configFile: join(dir, `${runId}.yaml`), halvings: 0, source, digest, ...baseOf(each), ...(submission.suffix === undefined ? {} : { suffix: submission.suffix }) } satisfies RunPayload };
    });
    try {
      await Promise.all(prepared.map(({ each, payload }) => writeText(payload.configFile, submittedText(source, each.resolved))));
      return await queue.submit(
        prepared.map(({ each, payload }) => ({
          name: each.name,
          payload: { ...payload },
          resources: resourcesOf(config, capacity, { ...threadsOf(each), ...submission.resources }),
          priority: submission.priority ?? config.job.priority,
          max_attempts: submission.max_attempts ?? config.job.max_attempts,
          group,
        })),
        made,
      );
    } catch (error) {
      await Promise.all(prepared.map(({ payload }) => rm(payload.configFile, { force: true })));
      throw error;
    }
  }

  /**
   * A config may name plugins that the host does not have: their code is run in another process.
   * @throws ConfigError and GraftError for whatever is wrong with the config
   */
  async resolve({ config, set, cwd }: ConfigSource): Promise<readonly CheckedConfig[]> {
    const { kernel, checks } = this.#options;
    if ((await readPluginDirs(config, { set, cwd })).length > 0) return checks.within((check) => check.resolve({ config, set, cwd }));
    return (await resolveConfigs(config, { schemas: kernel, set, cwd })).map(checkedConfig);
  }
}

/** What its grafts stand on. */
export function baseOf({ resolved }: CheckedConfig): Pick<RunPayload, 'base'> {
  const { load, inject } = resolved as { readonly load?: { readonly model?: unknown }; readonly inject?: readonly unknown[] };
  return typeof load?.model === 'string' && (inject?.length ?? 0) > 0 ? { base: load.model } : {};
}

function sourceOf({ config, set, cwd }: Submission): ConfigSource {
  return { config, set, cwd };
}

/** What is kept of a config as it was submitted. */
export function submittedText({ config }: ConfigSource, resolved: Readonly<Record<string, unknown>>): string {
  return `# Submitted from ${config}.\n${stringify(resolved)}`;
}

/** A config that says how many threads it wants takes as many cores. */
function threadsOf({ threads }: CheckedConfig): Partial<Resources> {
  return threads === undefined ? {} : { cpu: threads };
}
