import type {
  Dataset,
  Engine,
  GenerationInfo,
  Graft,
  Kernel,
  Lease,
  LoadedModel,
  Logger,
  RunEvent,
  Scope,
  Stage,
  StageCall,
  StageHooks,
  TrainHook,
} from '../contracts/index.ts';
import type { Entry, RunConfig } from '../config/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { createScope, type OwnedScope } from '../kernel/scope.ts';
import { rng } from '../tensor/rng.ts';
import { graftFolder, loadGrafts, loadGraftsInCommon, type TrainableShapes } from './adapters.ts';
import { startEngine, type StartedEngine } from './engine.ts';

/** What a run needs of the process that it is in. */
export interface RunHost {
  readonly kernel: Kernel;
  readonly log: Logger;
  /** Absolute folder for caches that outlive a run. */
  readonly cacheDir: string;
  /** Fires when the run is to stop. */
  readonly signal: AbortSignal;
  /** Never throws. */
  emit(event: RunEvent): void;
}

/** The grafts of one stack, on the model until disposed. */
export interface InjectedStack {
  readonly stack: string;
  /** In the order that the config lists them. */
  readonly grafts: readonly Graft[];
  /** The generation that made each graft; held until the stack is disposed. */
  readonly generations: readonly GenerationInfo[];
  /** Takes the grafts off, the last first, and restores the sites exactly. */
  dispose(): Promise<void>;
}

/** The train plugin of a run, held until the session is disposed. */
export interface Trainer {
  readonly hook: TrainHook;
  readonly entry: Entry;
  readonly generation: GenerationInfo;
}

/**
 * A config brought to life: the engine started and the model loaded, ready for the stages that follow. Training, serving
 * and generating all begin here. Every plugin generation used is leased until what it made is disposed, so that a run
 * ends on the code that it began with.
 */
export class Session {
  readonly config: RunConfig;
  readonly engine: Engine;
  /** Why this engine, in words. */
  readonly engineReason: string;
  readonly model: LoadedModel['model'];
  readonly tokenizer: LoadedModel['tokenizer'];
  /** The generations used so far, by plugin (`inject:lora`). */
  readonly generations: Map<string, GenerationInfo>;
  readonly #host: RunHost;
  readonly #scope: OwnedScope;
  #trainer: Trainer | undefined;

  private constructor(config: RunConfig, host: RunHost, scope: OwnedScope, started: StartedEngine, loaded: LoadedModel, generations: Map<string, GenerationInfo>) {
    this.config = config;
    this.engine = started.engine;
    this.engineReason = started.reason;
    this.model = loaded.model;
    this.tokenizer = loaded.tokenizer;
    this.generations = generations;
    this.#host = host;
    this.#scope = scope;
  }

  /**
   * Chooses and starts the engine, and loads the model.
   * @param onEngine is told as soon as the engine runs, before the model is loaded
   * @throws ConfigError when a plugin refuses one of its options, with the option's place in the file; GraftError otherwise
   */
  static async open(config: RunConfig, host: RunHost, onEngine?: (started: StartedEngine) => void): Promise<Session> {
    const scope = createScope(`session ${config.name}`, host.log);
    const generations = new Map<string, GenerationInfo>();
    try {
      const started = await engineOf(config, host);
      scope.own(`engine ${started.engine.info.name}`, () => started.dispose());
      generations.set(started.generation.plugin, started.generation);
      onEngine?.(started);
      const use = leaseEntry(config, host, scope, 'load', config.load);
      generations.set(use.generation.plugin, use.generation);
      const loaded = await runHook(config, host, 'load', config.load, () =>
        use.value.load(stageCall(config, host, scope, started.engine, config.load)),
      );
      scope.own(`model ${config.load.use}`, () => loaded.model.dispose());
      return new Session(config, host, scope, started, loaded, generations);
    } catch (error) {
      await scope.dispose();
      throw error;
    }
  }

  /** Runs the preprocess entries in the order listed, each fed by the one before. */
  async preprocess(): Promise<Dataset> {
    let dataset: Dataset | undefined;
    for (const entry of this.config.preprocess) {
      const scope = this.#scope.child(`preprocess ${entry.use}`);
      try {
        const use = this.#lease(scope, 'preprocess', entry);
        const input = dataset;
        dataset = await this.#run('preprocess', entry, () =>
          use.value.preprocess({ ...this.call(entry, scope), tokenizer: this.tokenizer, model: this.model, input }),
        );
      } finally {
        await scope.dispose();
      }
    }
    if (dataset === undefined) throw new GraftError('NO_PREPROCESS', `The run ${this.config.name} has no preprocess entry, so there is nothing to train on.`, { hint: 'Add one under `preprocess:`, such as { use: instruct, data: ./train.jsonl }.' });
    return dataset;
  }

  /**
   * Grafts the inject entries onto the model, in the order listed, as one stack.
   * @param options.from folder with saved grafts (`<index>-<name>/` each), read into the trainables once all are grafted
   * @param options.saved what that folder has: grafts of other shapes are then left as they begin
   */
  async inject(stack: string, options: { readonly from?: string; readonly saved?: TrainableShapes } = {}): Promise<InjectedStack> {
    const scope = this.#scope.child(`stack ${stack}`);
    const grafts: Graft[] = [];
    const generations: GenerationInfo[] = [];
    try {
      const target = this.model.target(stack);
      for (const [index, entry] of this.config.inject.entries()) {
        const use = this.#lease(scope, 'inject', entry);
        const graft = await this.#run('inject', entry, () => use.value.inject({ ...this.call(entry, scope), seed: seedOf(this.config.seed, index), target }));
        scope.own(`graft ${graftFolder(index, graft)}`, () => graft.remove());
        grafts.push(graft);
        generations.push(use.generation);
      }
      if (options.from !== undefined) await (options.saved === undefined ? loadGrafts(grafts, options.from) : loadGraftsInCommon(grafts, options.from, options.saved));
    } catch (error) {
      await scope.dispose();
      throw error;
    }
    return { stack, grafts, generations, dispose: () => scope.dispose() };
  }

  /**
   * Leases the train plugin, once.
   * @throws GraftError `NO_TRAIN` when the config has no `train:`
   */
  trainer(): Trainer {
    return (this.#trainer ??= this.#leaseTrainer());
  }

  #leaseTrainer(): Trainer {
    const entry = this.config.train;
    if (entry === undefined) throw new GraftError('NO_TRAIN', `The run ${this.config.name} has no \`train:\` entry.`, { hint: 'Add one, such as train: { use: sft }.' });
    const use = this.#lease(this.#scope, 'train', entry);
    return { hook: use.value, entry, generation: use.generation };
  }

  /** What a hook call of this session is given, with the resources that it acquires owned by `scope`. */
  call(entry: Entry, scope: Scope = this.#scope): StageCall<unknown> {
    return stageCall(this.config, this.#host, scope, this.engine, entry);
  }

  /** Releases everything: grafts, model, engine, leases. */
  async dispose(): Promise<void> {
    await this.#scope.dispose();
  }

  #lease<S extends Stage>(scope: Scope, stage: S, entry: Entry): Lease<StageHooks[S]> {
    const use = leaseEntry(this.config, this.#host, scope, stage, entry);
    this.generations.set(use.generation.plugin, use.generation);
    return use;
  }

  #run<T>(stage: Stage, entry: Entry, hook: () => Promise<T>): Promise<T> {
    return runHook(this.config, this.#host, stage, entry, hook);
  }
}

function stageCall(config: RunConfig, host: RunHost, scope: Scope, engine: Engine, entry: Entry): StageCall<unknown> {
  return {
    config: entry.options,
    engine,
    seed: config.seed,
    log: host.log.child({ plugin: entry.use }),
    signal: host.signal,
    scope,
    baseDir: config.baseDir,
    cacheDir: host.cacheDir,
    emit: (event) => host.emit(event),
  };
}

async function engineOf(config: RunConfig, host: RunHost): Promise<StartedEngine> {
  try {
    return await startEngine(host.kernel, config.engine, host.log);
  } catch (error) {
    // The engine is named at the top of the config, not in an entry of a stage.
    throw placed(config, { use: config.engine.use, options: {}, path: [] }, error);
  }
}

/** Of an inject entry: two of one plugin must not begin with the same values, or they would stay the same. */
function seedOf(seed: number, index: number): number {
  return index === 0 ? seed : rng(seed, 'inject', index).next();
}

/** Leases a plugin and binds the entry's config to it, for as long as `scope` lives. */
function leaseEntry<S extends Stage>(config: RunConfig, host: RunHost, scope: Scope, stage: S, entry: Entry): Lease<StageHooks[S]> {
  const use = withPlace(config, entry, () => host.kernel.lease(stage, entry.use, { pinned: true }));
  scope.own(`lease ${stage}:${entry.use}`, () => use.release());
  scope.own(`binding ${stage}:${entry.use}`, host.kernel.bind(stage, entry.use, entry.options));
  return use;
}

/** Runs one hook between its `stage` events. */
async function runHook<T>(config: RunConfig, host: RunHost, stage: Stage, entry: Entry, hook: () => Promise<T>): Promise<T> {
  host.signal.throwIfAborted();
  const began = performance.now();
  host.emit({ type: 'stage', stage, use: entry.use, state: 'started' });
  try {
    const result = await hook();
    host.emit({ type: 'stage', stage, use: entry.use, state: 'done', seconds: (performance.now() - began) / 1000 });
    return result;
  } catch (error) {
    throw placed(config, entry, error);
  }
}

function withPlace<T>(config: RunConfig, entry: Entry, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw placed(config, entry, error);
  }
}

/** A plugin's complaint about one of its options becomes file:line:column; everything else passes as it is. */
export function placed(config: RunConfig, entry: Entry, error: unknown): unknown {
  return GraftError.is(error) && error.option !== undefined ? config.fail(error, entry) : error;
}
