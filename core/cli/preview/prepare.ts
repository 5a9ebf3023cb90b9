import type { RunConfig } from '../../config/index.ts';
import type { Dataset, LoadedTokenizer, Tokenizer } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { createScope, type OwnedScope } from '../../kernel/scope.ts';
import { placed, Session, type RunHost } from '../../run/session.ts';

/** What a config's data became. */
export interface Prepared {
  readonly dataset: Dataset;
  readonly tokenizer: Tokenizer;
}

/**
 * Runs the preprocess entries of a config as a run would, without its weights and its engine where the load plugin can
 * give the tokenizer alone.
 * @throws ConfigError when a plugin refuses one of its options, with the option's place in the file; GraftError otherwise
 */
export async function prepareData(config: RunConfig, host: RunHost): Promise<Prepared> {
  const scope = createScope(`data of ${config.name}`, host.log);
  try {
    const loaded = await loadTokenizer(config, host, scope);
    if (loaded === undefined) {
      const session = await Session.open(config, host);
      scope.own('session', () => session.dispose());
      return { dataset: await session.preprocess(), tokenizer: session.tokenizer };
    }
    const { tokenizer, config: modelConfig } = loaded;
    let dataset: Dataset | undefined;
    for (const entry of config.preprocess) {
      const input = dataset;
      dataset = await inPlace(config, entry, async () => {
        const use = host.kernel.lease('preprocess', entry.use, { pinned: true });
        scope.own(`lease preprocess:${entry.use}`, () => use.release());
        return use.value.preprocess({ ...callOf(config, host, scope, entry), tokenizer, model: { config: modelConfig }, input });
      });
    }
    if (dataset === undefined) throw new GraftError('NO_PREPROCESS', `The config ${config.file} has no preprocess entry, so there is no data to show.`, { hint: 'Add one under `preprocess:`, such as { use: instruct, data: ./train.jsonl }.' });
    return { dataset, tokenizer };
  } finally {
    await scope.dispose();
  }
}

/** Undefined when the load plugin only loads models whole. */
async function loadTokenizer(config: RunConfig, host: RunHost, scope: OwnedScope): Promise<LoadedTokenizer | undefined> {
  return inPlace(config, config.load, async () => {
    const use = host.kernel.lease('load', config.load.use, { pinned: true });
    scope.own(`lease load:${config.load.use}`, () => use.release());
    return use.value.loadTokenizer?.(callOf(config, host, scope, config.load));
  });
}

type Entry = RunConfig['load'];

function callOf(config: RunConfig, host: RunHost, scope: OwnedScope, entry: Entry) {
  return {
    config: entry.options,
    seed: config.seed,
    log: host.log.child({ plugin: entry.use }),
    signal: host.signal,
    scope,
    baseDir: config.baseDir,
    cacheDir: host.cacheDir,
    emit: host.emit,
  };
}

/** A plugin's complaint about one of its options gets the option's place in the config. */
async function inPlace<T>(config: RunConfig, entry: Entry, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw placed(config, entry, error);
  }
}
