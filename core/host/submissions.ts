/** Configs in, jobs out: everything that can be wrong with a config is said before a job is made. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readPluginDirs, resolveConfigs, type RunConfig } from '../config/index.ts';
import type { Job, Kernel, Queue, Resources } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { writeText } from '../run/durable.ts';
import { newRunId } from '../run/run-directory.ts';
import { resourcesOf, type DaemonConfig } from './daemon-config.ts';
import { openHost } from './open-host.ts';
import type { RunPayload } from './run-payload.ts';

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

export interface SubmissionsOptions {
  readonly queue: Queue;
  readonly kernel: Kernel;
  readonly config: DaemonConfig;
  readonly capacity: Resources;
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
  async submit(submission: Submission): Promise<readonly Job[]> {
    const { queue, config, capacity, dir } = this.#options;
    const configs = await this.#resolve(submission);
    const [first] = configs;
    if (first?.train === undefined) throw new GraftError('NO_TRAIN', `The config ${submission.config} has no \`train:\` entry, so there is nothing to run.`, { hint: 'Add one, such as train: { use: sft }.' });
    const group = submission.group ?? (configs.length > 1 ? newRunId(first.name.replace(/[^A-Za-z0-9._-].*/, '')) : undefined);
    const prepared = configs.map((each) => {
      const runId = newRunId(each.name);
      return { each, payload: { runId, configFile: join(dir, `${runId}.yaml`), halvings: 0, ...baseOf(each), ...(submission.suffix === undefined ? {} : { suffix: submission.suffix }) } satisfies RunPayload };
    });
    try {
      await Promise.all(prepared.map(({ each, payload }) => writeText(payload.configFile, `# Submitted from ${each.file}.\n${stringify(each.resolved)}`)));
      return await queue.submit(
        prepared.map(({ each, payload }) => ({
          name: each.name,
          payload: { ...payload },
          resources: resourcesOf(config, capacity, { ...threadsOf(each), ...submission.resources }),
          priority: submission.priority ?? config.job.priority,
          max_attempts: submission.max_attempts ?? config.job.max_attempts,
          group,
        })),
      );
    } catch (error) {
      await Promise.all(prepared.map(({ payload }) => rm(payload.configFile, { force: true })));
      throw error;
    }
  }

  /** A config may name plugin folders that the host does not look in; then a kernel of its own checks it. */
  async #resolve({ config, set, cwd }: Submission): Promise<readonly RunConfig[]> {
    const pluginDirs = await readPluginDirs(config, { set });
    if (pluginDirs.length === 0) return resolveConfigs(config, { schemas: this.#options.kernel, set, cwd });
    const host = await openHost({ pluginDirs: [...this.#options.config.plugins, ...pluginDirs] });
    try {
      return await resolveConfigs(config, { schemas: host.kernel, set, cwd });
    } finally {
      await host.dispose();
    }
  }
}

/** What its grafts stand on. */
function baseOf({ load, inject }: RunConfig): Pick<RunPayload, 'base'> {
  const { model } = load.options as { readonly model?: unknown };
  return typeof model === 'string' && inject.length > 0 ? { base: model } : {};
}

/** A config that says how many threads it wants takes as many cores. */
function threadsOf({ engine }: RunConfig): Partial<Resources> {
  return engine.threads === 'auto' ? {} : { cpu: engine.threads };
}
