/** The engine, the models and the inject plugins, without a config: what commands that work on folders stand on. */
import { checkOptions } from '../config/options.ts';
import type { Kernel, LoadedModel, Logger, StageCall } from '../contracts/index.ts';
import { createScope } from '../kernel/scope.ts';
import { startEngine } from './engine.ts';
import { leaseInjectPlugins, type InjectPlugin } from './recognize.ts';

export interface WorkbenchHost {
  readonly kernel: Kernel;
  readonly log: Logger;
  readonly cacheDir: string;
  readonly signal: AbortSignal;
}

export interface Workbench {
  /** What every hook call is given, but for its config. */
  readonly call: Omit<StageCall<unknown>, 'config'>;
  readonly injectPlugins: readonly InjectPlugin[];
  /** Loads a Hugging Face folder or a Hub id, with further options of the load plugin; the caller disposes the model. */
  load(model: string, options?: Readonly<Record<string, unknown>>): Promise<LoadedModel>;
  dispose(): Promise<void>;
}

/**
 * @param options.engine a config's `engine:`
 * @param options.loader the load plugin
 */
export async function openWorkbench({ kernel, log, cacheDir, signal }: WorkbenchHost, options: { readonly engine?: string; readonly threads?: number | 'auto'; readonly loader?: string } = {}): Promise<Workbench> {
  const { engine: use = 'auto', threads = 'auto', loader = 'llama' } = options;
  const scope = createScope('workbench', log);
  try {
    const started = await startEngine(kernel, { use, threads }, log);
    scope.own(`engine ${started.engine.info.name}`, () => started.dispose());
    const leased = leaseInjectPlugins(kernel);
    scope.own('inject plugins', () => leased.release());
    const load = kernel.lease('load', loader);
    scope.own(`lease load:${loader}`, () => load.release());
    const call: Workbench['call'] = { engine: started.engine, seed: 0, log, signal, scope, baseDir: process.cwd(), cacheDir, emit: () => {} };
    return {
      call,
      injectPlugins: leased.plugins,
      load: (model, rest) => load.value.load({ ...call, config: checkOptions(load.schema, { ...rest, model }, `the load plugin \`${loader}\``) }),
      dispose: () => scope.dispose(),
    };
  } catch (error) {
    await scope.dispose();
    throw error;
  }
}
