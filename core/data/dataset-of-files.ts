import type { Dataset, PreprocessCall } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { rng } from '../tensor/rng.ts';
import type { Tokenised } from './cache-file.ts';
import { assertSameKind, buildDataset } from './dataset.ts';
import { dataFiles } from './files.ts';

/** Tokens at most where neither the config nor the model sets a lower limit. */
const DEFAULT_MAX_LENGTH = 2048;

/** Options of every preprocess plugin that reads files. */
export interface FileOptions {
  readonly data: string | readonly string[];
  readonly eval_data?: string | readonly string[];
  readonly eval_split: number;
  readonly shuffle: boolean;
  /** False where a plugin has no such option. */
  readonly packing?: boolean;
  readonly seed?: number;
  readonly max_length?: number;
}

/** What differs from one such plugin to the next. */
export interface FileTokeniser {
  /** Names its random streams. */
  readonly plugin: string;
  /** Set where every row becomes two examples, a pair that stays together. */
  readonly preferences?: true;
  /** Refuses options that would have no effect on these files, those to evaluate on among them. */
  check?(files: readonly string[]): void;
  tokenise(files: readonly string[], maxLength: number): Promise<Tokenised>;
}

/**
 * From the files that a config names to a dataset.
 * @throws GraftError `DATA_NOT_FOUND`, `EVAL_SPLIT`, `NO_EXAMPLES`, `PREFERENCES_MIXED`, and what the tokeniser throws
 */
export async function datasetOfFiles(call: PreprocessCall<FileOptions>, { plugin, preferences, check, tokenise }: FileTokeniser): Promise<Dataset> {
  const { config, model } = call;
  assertSameKind(call.input, preferences);
  const longest = model.config.max_position_embeddings;
  const maxLength = config.max_length ?? Math.min(DEFAULT_MAX_LENGTH, longest);
  if (maxLength > longest) call.emit({ type: 'log', level: 'warn', message: `max_length is ${maxLength}, and the model was trained on sequences of at most ${longest} tokens.` });
  if (config.eval_data !== undefined && config.eval_split !== 0) {
    throw new GraftError('EVAL_SPLIT', 'eval_data and eval_split both say what to evaluate on.', { option: ['eval_split'], hint: 'Leave one of them out.' });
  }
  const files = await dataFiles(config.data, call.baseDir, ['data']);
  const evalFiles = config.eval_data === undefined ? undefined : await dataFiles(config.eval_data, call.baseDir, ['eval_data']);
  check?.([...files, ...(evalFiles ?? [])]);
  const train = await tokenise(files, maxLength);
  const held = evalFiles === undefined ? undefined : await tokenise(evalFiles, maxLength);
  const seed = config.seed ?? call.seed;
  return buildDataset(
    train,
    held,
    { evalSplit: config.eval_split, shuffle: config.shuffle, random: (purpose) => rng(seed, plugin, purpose) },
    { input: call.input, maxLength, packing: config.packing ?? false, preferences },
  );
}
