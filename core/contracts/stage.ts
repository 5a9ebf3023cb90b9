/**
 * The five hooks and what each hands to the next.
 *
 * load -> preprocess* -> inject* -> train -> serve*: `load` and `train` are one plugin, the others are lists.
 * `preprocess` entries feed each other in the order listed; `inject` entries graft onto the same model in the order
 * listed (that is what a mixed strategy is).
 */
import type { TSchema } from 'typebox';
import type { Dataset } from './data.ts';
import type { Engine } from './engine.ts';
import type { RunEvent } from './events.ts';
import type { Graft } from './graft.ts';
import type { Logger, Scope } from './plugin.ts';
import type { CausalLM, GraftTarget, LoadedModel, LoadedTokenizer, Tokenizer } from './model.ts';
import type { RunningServer, ServedModels } from './serve.ts';
import type { Checkpoints, Resumption, TrainEvent, TrainPlan } from './train.ts';

/** The name of a lifecycle hook, as it is written in a run config and in a plugin's manifest. */
export type Stage = 'load' | 'preprocess' | 'inject' | 'train' | 'serve';

/** What every hook call is given, whatever its stage. `C` is the plugin's own config, checked against its schema. */
export interface StageCall<C> {
  /** This entry's options: defaults filled in, checked against the plugin's schema. */
  readonly config: C;
  readonly engine: Engine;
  /** The run's seed. Derive streams from it (`rng(seed, 'my-plugin')`), never from the clock. */
  readonly seed: number;
  readonly log: Logger;
  /** Fires when the run is cancelled or the generation reaches its drain deadline. */
  readonly signal: AbortSignal;
  /** Owns what the call acquires; disposed, last in first out, when the run ends. */
  readonly scope: Scope;
  /** Absolute folder of the config file: relative paths in a config are relative to it. */
  readonly baseDir: string;
  /** Absolute folder for caches that outlive a run. */
  readonly cacheDir: string;
  /** Tells whoever subscribes (progress bar, JSON lines, report). Never throws. */
  emit(event: RunEvent): void;
}

/** `load`: from a checkpoint to a model with its tokenizer. */
export interface LoadHook<C = unknown> {
  load(call: StageCall<C>): Promise<LoadedModel>;
  /**
   * The tokenizer and the model's config alone, without reading a weight or starting an engine: what `graft preview`
   * and every other look at data needs. Where a plugin leaves it out, the whole model is loaded instead.
   */
  loadTokenizer?(call: Omit<StageCall<C>, 'engine'>): Promise<LoadedTokenizer>;
}

/** No engine: data is prepared where no model runs, too. */
export interface PreprocessCall<C> extends Omit<StageCall<C>, 'engine'> {
  readonly tokenizer: Tokenizer;
  readonly model: Pick<CausalLM, 'config'>;
  /** What the entry before this one made; undefined for the first. Returning a dataset that leaves it out drops it. */
  readonly input: Dataset | undefined;
}

/** `preprocess`: from files to packed token sequences. */
export interface PreprocessHook<C = unknown> {
  preprocess(call: PreprocessCall<C>): Promise<Dataset>;
}

export interface InjectCall<C> extends StageCall<C> {
  /** The model's sites and parameters, bound to the stack that is being built. */
  readonly target: GraftTarget;
}

/** `inject`: grafts trainable tensors onto a frozen model. */
export interface InjectHook<C = unknown> {
  inject(call: InjectCall<C>): Promise<Graft>;
  /**
   * The options under which `inject` and then `Graft.load` give what a folder holds, saved by this plugin or by the peer
   * whose format it writes: how a folder without a config beside it is opened (served by name, `graft merge`, `graft
   * oracles`). Where a plugin leaves it out, only folders that a run saved are opened, which say what made them.
   * @returns undefined where the folder holds another method
   * @throws GraftError with a code that ends in `_UNSUPPORTED` where it holds this method with something that the plugin
   *   can't compute, by name; with another where it is broken
   */
  recognize?(dir: string): Promise<Partial<C> | undefined>;
  /** The plugin's config schema, for a plugin that composes this one and passes options on. */
  readonly options?: TSchema;
}

export interface TrainCall<C> extends StageCall<C> {
  readonly model: CausalLM;
  readonly dataset: Dataset;
  readonly grafts: readonly Graft[];
  /** The stack that the grafts are in; pass it to `model.forward`. */
  readonly stack: string;
  readonly checkpoints: Checkpoints;
  /** Where to go on from, when the run is resumed. */
  readonly resume: Resumption | undefined;
}

/** `train`: yields events until done. Stops at the next step boundary, checkpointed, when `signal` fires. */
export interface TrainHook<C = unknown> {
  /** What the run will do, from sizes alone: `graft plan` prints it. Starts nothing. */
  plan(call: Pick<TrainCall<C>, 'config' | 'dataset' | 'grafts' | 'model' | 'seed'>): TrainPlan;
  train(call: TrainCall<C>): AsyncIterable<TrainEvent>;
}

export interface ServeCall<C> extends StageCall<C> {
  readonly models: ServedModels;
}

/** `serve`: answers requests until closed. */
export interface ServeHook<C = unknown> {
  serve(call: ServeCall<C>): Promise<RunningServer>;
}

/** The hook that a plugin of each stage returns from `setup`. */
export interface StageHooks<C = unknown> {
  load: LoadHook<C>;
  preprocess: PreprocessHook<C>;
  inject: InjectHook<C>;
  train: TrainHook<C>;
  serve: ServeHook<C>;
}
