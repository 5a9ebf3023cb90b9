import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadedModel, Logger, Scope } from '../../core/index.ts';
import { loadLlama } from '../../plugins/load-llama/load.ts';
import type { LlamaOptions } from '../../plugins/load-llama/options.ts';
import { testEngine } from './engine.ts';

const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet };

/** A model folder as the load plugin reads it, on the engine of the tests; the caller disposes the model. */
export async function loadFolder(dir: string, options: Partial<LlamaOptions> = {}): Promise<LoadedModel> {
  return loadLlama({
    config: { revision: 'main', dtype: 'auto', ...options, model: dir },
    engine: await testEngine(),
    seed: 0,
    log: quiet,
    signal: new AbortController().signal,
    scope: undefined as unknown as Scope,
    baseDir: process.cwd(),
    cacheDir: process.cwd(),
    emit: () => {},
  });
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
