import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Engine, LoadedModel, Logger, StageCall } from '../../core/index.ts';
import { createScope } from '../../core/kernel/scope.ts';
import { loadLlama } from '../../plugins/load-llama/load.ts';
import type { LlamaOptions } from '../../plugins/load-llama/options.ts';
import { testEngine } from './engine.ts';

const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet };

/** A call of the load plugin, on the engine of the tests unless another is given. */
export async function loadCall(model: string, options: Partial<LlamaOptions> = {}, engine?: Engine): Promise<StageCall<LlamaOptions>> {
  return {
    config: { revision: 'main', dtype: 'auto', low_memory: false, ...options, model },
    engine: engine ?? (await testEngine()),
    seed: 0,
    log: quiet,
    signal: new AbortController().signal,
    scope: createScope('test', quiet),
    baseDir: process.cwd(),
    cacheDir: process.cwd(),
    emit: () => {},
  };
}

/** A model folder as the load plugin reads it; the caller disposes the model. */
export async function loadFolder(dir: string, options: Partial<LlamaOptions> = {}): Promise<LoadedModel> {
  return loadLlama(await loadCall(dir, options));
}

/** Real weights and data that are not part of the repository; undefined where they are absent. */
export function sharedDir(): string | undefined {
  const dir = join(import.meta.dirname, '../../../shared');
  return existsSync(dir) ? dir : undefined;
}

/** The reference numbers. */
export function oracleDir(): string {
  return join(import.meta.dirname, '../oracles');
}
