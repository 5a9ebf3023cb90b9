/** All that can be asked for by `model`: the bases that the daemon serves, and the adapters on them. */
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { basename, isAbsolute, join, resolve, sep } from 'node:path';
import type { Logger } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { readJsonFile } from '../../tensor/json-file.ts';
import { baseId, type DaemonConfig, type ServedBase } from '../daemon-config.ts';
import type { ServeCounts } from '../protocol.ts';
import type { AdapterRecord, AdapterStore } from './adapter-store.ts';
import { ModelProcess } from './model-process.ts';

const BEAT_MS = 1000;
const MIB = 2 ** 20;

export interface ModelsOptions {
  readonly config: DaemonConfig;
  readonly adapters: AdapterStore;
  readonly log: Logger;
  counted?(base: string, counts: ServeCounts): void;
  /** Is told that the process of a base has ended. */
  fell?(base: string): void;
  /** A checkpoint of a run that has not succeeded, by the name that its result would have. */
  checkpoint?(name: string, step: number): Pick<AdapterRecord, 'base' | 'dir' | 'job'> | undefined;
}

/** As `/v1/models` tells it. */
export interface KnownModel {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  readonly parent: string | undefined;
}

export class Models {
  readonly #options: ModelsOptions;
  readonly #idToProcess = new Map<string, ModelProcess>();
  readonly #since = Math.floor(Date.now() / 1000);

  /** Begins to load every base. */
  constructor(options: ModelsOptions) {
    this.#options = options;
    const { config, log } = options;
    for (const base of config.models) {
      if (!base.serve) continue;
      const id = baseId(base);
      this.#idToProcess.set(
        id,
        new ModelProcess({
          order: orderOf(base, config),
          memoryMb: base.memory_mb,
          silenceMs: config.silence_seconds * 1000,
          stopMs: config.shutdown_seconds * 1000,
          log: log.child({ model: id }),
          find: (model) => this.#dirOf(model, id),
          counted: (counts) => options.counted?.(id, counts),
          fell: () => options.fell?.(id),
        }),
      );
    }
  }

  /** Ids of the bases that are served, or may be trained. */
  get bases(): readonly string[] {
    return this.#options.config.models.map(baseId);
  }

  /** The id of the base that a run names as its model; its own name where the daemon has no such base. */
  idOf(model: string): string {
    const base = this.#options.config.models.find((each) => each.model === model);
    return base === undefined ? baseId({ model }) : baseId(base);
  }

  get processes(): readonly ModelProcess[] {
    return [...this.#idToProcess.values()];
  }

  list(): readonly KnownModel[] {
    const adapters = this.#options.adapters.list().filter(({ base }) => this.#idToProcess.has(base));
    return [...[...this.#idToProcess.keys()].map((id) => ({ id, created: this.#since, parent: undefined })), ...adapters.map(({ name, base, createdAt }) => ({ id: name, created: Math.floor(createdAt / 1000), parent: base }))];
  }

  /** One that is listed, or a run's checkpoint. */
  get(id: string): KnownModel | undefined {
    const listed = this.list().find((model) => model.id === id);
    if (listed !== undefined) return listed;
    const checkpoint = this.#adapter(id);
    return checkpoint === undefined || !this.#idToProcess.has(checkpoint.base) ? undefined : { id, created: Math.floor(checkpoint.createdAt / 1000), parent: checkpoint.base };
  }

  /** The process that answers for a model; undefined where there is no such model here. */
  processOf(model: string): ModelProcess | undefined {
    const own = this.#idToProcess.get(model);
    if (own !== undefined) return own;
    const base = this.#adapter(model)?.base;
    return base === undefined ? undefined : this.#idToProcess.get(base);
  }

  /**
   * Takes an adapter in under a name, once its base has proved that it can serve it.
   * @throws GraftError `PATH_FORBIDDEN`, `ADAPTER_EXISTS`, `BASE_UNKNOWN`, `ADAPTER_BROKEN`, `MODEL_NOT_READY`
   */
  async load(name: string, path: string, options: { readonly base?: string; readonly replace: boolean; readonly signal: AbortSignal }): Promise<void> {
    const { adapters } = this.#options;
    if (this.#idToProcess.has(name)) throw new GraftError('ADAPTER_EXISTS', `${name} is the name of a base model.`);
    const before = adapters.get(name);
    if (before !== undefined && !options.replace) throw new GraftError('ADAPTER_EXISTS', `The adapter ${name} is loaded already.`, { hint: 'Unload it first, or send load_inplace: true.' });
    const dir = this.#allowed(path);
    const base = options.base ?? (await this.#baseOf(dir));
    const process = this.#idToProcess.get(base);
    if (process === undefined) throw new GraftError('BASE_UNKNOWN', `There is no base model ${base} here.`, { hint: `Served: ${[...this.#idToProcess.keys()].join(', ')}.` });
    adapters.put({ name, base, dir, job: undefined, createdAt: Date.now() });
    try {
      process.forget(name);
      await process.ask({ what: 'load', model: name }, options.signal);
    } catch (error) {
      if (before === undefined) adapters.remove(name);
      else adapters.put(before);
      process.forget(name);
      throw error;
    }
  }

  /** Forgets an adapter; requests that use it end as they would have. @returns false where there is none */
  unload(name: string): boolean {
    const record = this.#options.adapters.get(name);
    if (record === undefined) return false;
    this.#options.adapters.remove(name);
    this.#idToProcess.get(record.base)?.forget(name);
    return true;
  }

  async stop(): Promise<void> {
    await Promise.all(this.processes.map((process) => process.stop()));
  }

  /** By name; a run's checkpoint as the name of its adapter with `:ckpt-step-N` behind. */
  #adapter(model: string): AdapterRecord | undefined {
    const { adapters } = this.#options;
    const found = adapters.get(model);
    if (found !== undefined) return found;
    const checkpoint = /^(.+):ckpt-step-(\d+)$/.exec(model);
    if (checkpoint === null) return undefined;
    const [, name, step] = checkpoint as unknown as readonly [string, string, string];
    const of = adapters.get(name);
    const made = of === undefined ? this.#options.checkpoint?.(name, Number(step)) : { ...of, dir: join(of.dir, '..', 'checkpoints', `step-${step}`, 'grafts') };
    return made?.job === undefined || !existsSync(made.dir) ? undefined : { createdAt: Date.now(), ...made, name: model };
  }

  #dirOf(model: string, base: string): string | undefined {
    const record = this.#adapter(model);
    if (record?.base !== base) return undefined;
    // What a folder of somebody else leads to may have changed since it was taken in.
    if (record.job === undefined && existsSync(record.dir)) this.#allowed(record.dir);
    return record.dir;
  }

  /** The folder that a path leads to, through every link, where that is inside one of the roots. */
  #allowed(path: string): string {
    const roots = this.#options.config.adapter_roots;
    if (roots.length === 0) throw new GraftError('PATH_FORBIDDEN', 'This daemon loads no adapters from paths.', { hint: 'Name folders that it may read them from as adapter_roots in its config.' });
    if (!isAbsolute(path)) throw new GraftError('PATH_FORBIDDEN', `${path} is not an absolute path.`);
    let real: string;
    try {
      real = realpathSync(path);
    } catch {
      // Whether something is there is nobody's business who may not read it.
      if (roots.some((root) => resolve(path).startsWith(root + sep))) throw new GraftError('ADAPTER_MISSING', `${path} does not exist.`);
      throw forbidden(path);
    }
    const isInside = (each: string): boolean => roots.some((root) => each.startsWith(realRoot(root) + sep));
    if (!isInside(real)) throw forbidden(path);
    for (const entry of readdirSync(real, { recursive: true, withFileTypes: true })) {
      const file = join(entry.parentPath, entry.name);
      if (entry.isSymbolicLink() && existsSync(file) && !isInside(realpathSync(file))) throw forbidden(file);
    }
    return real;
  }

  /** The base that a PEFT folder names, or the only one that there is. */
  async #baseOf(dir: string): Promise<string> {
    const ids = [...this.#idToProcess.keys()];
    if (ids.length === 1) return ids[0]!;
    const config = (await readJsonFile(join(dir, 'adapter_config.json')).catch(() => undefined)) as { readonly base_model_name_or_path?: unknown } | undefined;
    const named = typeof config?.base_model_name_or_path === 'string' ? config.base_model_name_or_path : undefined;
    const base = this.#options.config.models.find(({ model }) => named !== undefined && (model === named || basename(model) === basename(named)));
    if (base !== undefined) return baseId(base);
    throw new GraftError('BASE_UNKNOWN', `Which base model ${dir} stands on can't be told.`, { hint: `Send base_model: one of ${ids.join(', ')}.` });
  }
}

function orderOf(base: ServedBase, config: DaemonConfig): ConstructorParameters<typeof ModelProcess>[0]['order'] {
  const { use = 'openai', ...serve } = base.server;
  const { use: loader = 'llama', ...load } = base.load;
  return {
    id: baseId(base),
    load: { use: String(loader), options: { ...load, model: base.model } },
    engine: { use: base.engine, threads: base.threads },
    serve: { use: String(use), options: serve },
    pluginDirs: config.plugins,
    adapterBytes: base.adapters_mb * MIB,
    kvBytes: base.kv_cache_mb * MIB,
    maxSequences: base.max_sequences,
    maxBatchTokens: base.max_batch_tokens,
    setupMs: config.setup_seconds * 1000,
    beatMs: Math.min(BEAT_MS, (config.silence_seconds * 1000) / 4),
  };
}

function realRoot(root: string): string {
  try {
    return realpathSync(root);
  } catch {
    return root;
  }
}

function forbidden(path: string): GraftError {
  return new GraftError('PATH_FORBIDDEN', `${path} is outside of the folders that adapters may be loaded from.`, { hint: 'They are named as adapter_roots in the daemon\'s config.' });
}
