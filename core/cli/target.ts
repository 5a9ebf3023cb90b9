/** What `graft generate` and `graft serve` are pointed at: a run, a config, or a model, with its adapters. */
import { existsSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { readPluginDirs, resolveConfigs, type RunConfig } from '../config/index.ts';
import type { GenerationInfo, LoadedModel, Logger, Stage, StageCall } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { CheckpointFolder } from '../run/checkpoints.ts';
import { ORIGIN_FILE } from '../run/graft-origin.ts';
import { configFileOf, readRunRecord } from '../run/run-directory.ts';
import { adapterSource, isOneAdapter } from '../serving/adapter-source.ts';
import type { StackSource } from '../serving/served-models.ts';
import { Session } from '../run/session.ts';
import { openWorkbench } from '../run/workbench.ts';
import { openHost, type Host } from '../host/open-host.ts';

export interface TargetRequest {
  /** A run directory, a config file, a Hugging Face folder or a Hub id. */
  readonly path: string;
  /** A run's `adapters/`, or a folder with one saved adapter, in place of what the run has. */
  readonly adapter?: string;
  readonly set?: readonly string[];
  /** In place of the config's. */
  readonly engine?: string;
  readonly watch?: boolean;
  readonly log?: Logger;
}

/** A model loaded, with the way to put its adapters on. */
export interface Target {
  readonly host: Host;
  readonly base: LoadedModel;
  readonly baseId: string;
  readonly baseGenerations: readonly GenerationInfo[];
  /** Undefined where there is nothing but a base. */
  readonly adapted: StackSource | undefined;
  /** Where the trained values are from. */
  readonly adapters: string | undefined;
  readonly config: RunConfig | undefined;
  readonly call: Omit<StageCall<unknown>, 'config'>;
  dispose(): Promise<void>;
}

/**
 * Opens a target; the caller disposes it.
 * @throws GraftError `TARGET_UNKNOWN`, `NOT_TRAINED`, `ADAPTER_UNKNOWN`; ConfigError; what the plugins throw
 */
export async function openTarget(request: TargetRequest): Promise<Target> {
  const { path } = request;
  if (existsSync(join(path, 'run.json'))) {
    await readRunRecord(path);
    return openConfig(configFileOf(path), request, () => adaptersOf(path));
  }
  if (existsSync(path) && statSync(path).isFile()) return openConfig(resolve(path), request, newestAdapters);
  if (existsSync(join(path, 'config.json')) || /^[\w-][\w.-]*\/[\w.-]+$/.test(path)) return openModel(request);
  if (existsSync(join(path, 'adapter_config.json')) || existsSync(join(path, ORIGIN_FILE))) {
    throw new GraftError('TARGET_UNKNOWN', `${path} is an adapter's folder.`, { hint: `Name the model that it stands on, and the adapter with --adapter ${path}.` });
  }
  throw new GraftError('TARGET_UNKNOWN', existsSync(path) ? `${path} is neither a run directory, nor a config, nor a model: it has no run.json and no config.json.` : `${path} does not exist.`, {
    hint: 'Name a folder that `graft run` made, a config file, a Hugging Face folder, or a Hub id such as org/model.',
  });
}

async function openConfig(file: string, request: TargetRequest, find: (config: RunConfig) => Promise<string | undefined>): Promise<Target> {
  const set = [...(request.set ?? []), ...(request.engine === undefined ? [] : [`engine=${request.engine}`])];
  const host = await openHost({ pluginDirs: await readPluginDirs(file, { set }), watch: request.watch, log: request.log });
  try {
    const configs = await resolveConfigs(file, { schemas: host.kernel, set });
    const [config] = configs;
    if (config === undefined || configs.length > 1) {
      throw new GraftError('TARGET_SWEEP', `${file} has a sweep of ${configs.length} runs, and one model is asked for.`, { hint: 'Name the directory of one of its runs.' });
    }
    const adapters = request.adapter === undefined ? await find(config) : resolve(request.adapter);
    const session = await Session.open(config, { ...host, signal: new AbortController().signal, emit: () => undefined });
    const base = { model: session.model, tokenizer: session.tokenizer };
    const call = session.call(config.load);
    const dispose = async (): Promise<void> => {
      await session.dispose();
      await host.dispose();
    };
    try {
      const adapted =
        adapters === undefined ? undefined
        : await isOneAdapter(adapters) ? adapterSource({ kernel: host.kernel, model: base.model, call }, basename(adapters), adapters)
        : { id: config.name, plugins: config.inject.map(({ use }) => `inject:${use}`), build: (stack: string) => session.inject(stack, { from: adapters }) };
      return { host, base, baseId: modelId(config.load.options['model'] ?? config.load.use), baseGenerations: generationsOf(host, 'load', config.load.use), adapted, adapters, config, call, dispose };
    } catch (error) {
      await session.dispose();
      throw error;
    }
  } catch (error) {
    await host.dispose();
    throw error;
  }
}

async function openModel(request: TargetRequest): Promise<Target> {
  const host = await openHost({ watch: request.watch, log: request.log });
  try {
    const bench = await openWorkbench({ ...host, signal: new AbortController().signal }, { engine: request.engine ?? 'auto' });
    try {
      const base = await bench.load(existsSync(request.path) ? resolve(request.path) : request.path);
      const adapters = request.adapter === undefined ? undefined : resolve(request.adapter);
      if (adapters !== undefined && !(await isOneAdapter(adapters))) {
        throw new GraftError('ADAPTER_UNKNOWN', `${adapters} holds no single adapter.`, { hint: 'Name the folder of one (such as runs/<run>/adapters/0-lora), or the run directory in place of the model.' });
      }
      return {
        host,
        base,
        baseId: modelId(request.path),
        baseGenerations: generationsOf(host, 'load', 'llama'),
        adapted: adapters === undefined ? undefined : adapterSource({ kernel: host.kernel, model: base.model, call: bench.call }, basename(adapters), adapters),
        adapters,
        config: undefined,
        call: bench.call,
        dispose: async () => {
          base.model.dispose();
          await bench.dispose();
          await host.dispose();
        },
      };
    } catch (error) {
      await bench.dispose();
      throw error;
    }
  } catch (error) {
    await host.dispose();
    throw error;
  }
}

/** The trained values of a run: of its end, else of its newest checkpoint. */
async function adaptersOf(run: string): Promise<string> {
  const finished = join(resolve(run), 'adapters');
  if (existsSync(finished)) return finished;
  const checkpoint = await new CheckpointFolder(join(resolve(run), 'checkpoints')).latest();
  if (checkpoint !== undefined) return checkpoint.graftsDir;
  throw new GraftError('NOT_TRAINED', `The run in ${run} has neither adapters nor a checkpoint.`, { hint: `Go on with it: graft resume ${run}` });
}

/** The adapters of the newest finished run of a config; undefined for a config that injects nothing. */
async function newestAdapters(config: RunConfig): Promise<string | undefined> {
  if (config.inject.length === 0) return undefined;
  const names = existsSync(config.runsDir) ? await readdir(config.runsDir) : [];
  const runs = await Promise.all(names.map((name) => readRunRecord(join(config.runsDir, name)).catch(() => undefined)));
  const finished = runs.flatMap((record) => (record?.name === config.name && record.status === 'succeeded' ? [record] : []));
  const newest = finished.sort((a, b) => a.startedAt.localeCompare(b.startedAt)).at(-1);
  if (newest !== undefined) return join(config.runsDir, newest.id, 'adapters');
  throw new GraftError('NOT_TRAINED', `${config.runsDir} has no finished run named ${config.name}.`, { hint: `Train it first: graft run ${config.file}` });
}

/** The last part of a folder's path; a Hub id as it is. */
function modelId(model: unknown): string {
  const text = String(model);
  return existsSync(text) ? basename(resolve(text)) : text;
}

function generationsOf({ kernel }: Host, stage: Stage, use: string): readonly GenerationInfo[] {
  const lease = kernel.lease(stage, use);
  lease.release();
  return [lease.generation];
}
