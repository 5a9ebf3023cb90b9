import type { Dataset, Packed } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { trainedTokens } from '../tensor/packed.ts';
import type { Tokenised } from './cache-file.ts';
import type { Example } from './example.ts';
import { holdOut } from './hold-out.ts';
import { packBestFit } from './pack.ts';

/** How tokenised files become a dataset. */
export interface SplitOptions {
  /** See `holdOut`. */
  readonly evalSplit: number;
  /** Whether the examples come in a random order instead of the files' own. */
  readonly shuffle: boolean;
  /** Starts the random stream of a purpose, from the run's seed. */
  random(purpose: string): { shuffle(indices: Int32Array): Int32Array };
}

/**
 * Splits, shuffles and lays out tokenised files.
 * @param evalFiles examples to evaluate on, beside those that the split holds out
 * @throws GraftError `NO_EXAMPLES` when there is nothing to train on, or nothing in the files to evaluate on, `EVAL_SPLIT` when the split leaves nothing, `PREFERENCES_MIXED`
 */
export function buildDataset(
  files: Tokenised,
  evalFiles: Tokenised | undefined,
  { evalSplit, shuffle, random }: SplitOptions,
  layout: Pick<DatasetParts, 'input' | 'maxLength' | 'packing' | 'preferences'>,
): Dataset {
  if (files.examples.length === 0) throw noExample('The data holds no example to train on', 'data', files);
  if (evalFiles?.examples.length === 0) throw noExample('eval_data holds no example to evaluate on', 'eval_data', evalFiles);
  const units = unitsOf(files.examples, layout.preferences);
  const rows = rowsOf(units);
  const split = holdOut(rows.length, evalSplit, (indices) => random('eval split').shuffle(indices));
  const kept = split.train.flatMap((row) => rows[row]!);
  const order = shuffle ? random('shuffle').shuffle(Int32Array.from(kept)) : kept;
  const pick = (indices: ArrayLike<number>): Example[] => Array.from(indices).flatMap((index) => units[index]!);
  return assembleDataset({
    ...layout,
    train: pick(order),
    eval: [...pick(split.eval.flatMap((row) => rows[row]!)), ...(evalFiles?.examples ?? [])],
    badRows: files.badRows.count + (evalFiles?.badRows.count ?? 0),
  });
}

function noExample(message: string, option: string, { badRows, notes }: Tokenised): GraftError {
  const left = badRows.count === 0 ? '' : `; ${badRows.count} bad rows were left out, the first: ${badRows.reasons[0]}`;
  const hint = notes.length > 0 ? notes.join(' ') : badRows.count === 0 ? 'There is no row in its files.' : undefined;
  return new GraftError('NO_EXAMPLES', `${message}${left}.`, { option: [option], hint });
}

/** What a dataset is put together from. */
export interface DatasetParts {
  /** What the entry before made; it comes first. */
  readonly input: Dataset | undefined;
  readonly train: readonly Example[];
  readonly eval: readonly Example[];
  /** Tokens of a sequence at most; no example is longer. */
  readonly maxLength: number;
  /** Whether several examples share a sequence; pairs never do. */
  readonly packing: boolean;
  /** Set where every two examples are a pair: the preferred one and then the other. */
  readonly preferences?: true;
  /** Rows that were left out. */
  readonly badRows: number;
}

/**
 * Lays examples out as sequences, after those of the dataset before. Without packing every example is a sequence of its
 * own, in the order given; of pairs every two are.
 * @throws GraftError `PREFERENCES_MIXED` when the dataset before has pairs and this one not, or the other way round
 */
export function assembleDataset(parts: DatasetParts): Dataset {
  const { input, train, eval: held, preferences, badRows } = parts;
  assertSameKind(input, preferences);
  const laidOut = layOut(train, parts);
  const laidOutEval = layOut(held, parts);
  const sum = (of: (example: Example) => number): number => train.reduce((total, example) => total + of(example), 0);
  const before = input?.stats ?? { examples: 0, tokens: 0, trainedTokens: 0, truncatedExamples: 0, badRows: 0 };
  return {
    ...(preferences === true ? { preferences } : {}),
    train: [...(input?.train ?? []), ...laidOut.sequences],
    eval: [...(input?.eval ?? []), ...laidOutEval.sequences],
    info: [...(input?.info ?? []), ...laidOut.examples.map((example) => example.info)],
    evalInfo: input === undefined || input.evalInfo !== undefined ? [...(input?.evalInfo ?? []), ...laidOutEval.examples.map((example) => example.info)] : undefined,
    stats: {
      examples: before.examples + train.length,
      tokens: before.tokens + sum((example) => example.inputIds.length),
      trainedTokens: before.trainedTokens + sum(({ labels }) => trainedTokens({ labels, offsets: Int32Array.of(0, labels.length) })),
      truncatedExamples: before.truncatedExamples + sum((example) => (example.info.truncated > 0 ? 1 : 0)),
      badRows: before.badRows + badRows,
    },
  };
}

const PAIRS = 'pairs of a preferred completion and another';
const SINGLES = 'single examples';

/**
 * Refuses to join pairs to examples that are none: no trainer could learn from both.
 * @throws GraftError `PREFERENCES_MIXED`
 */
export function assertSameKind(input: Dataset | undefined, preferences: true | undefined): void {
  if (input === undefined || input.preferences === preferences) return;
  const [here, before] = preferences === true ? [PAIRS, SINGLES] : [SINGLES, PAIRS];
  throw new GraftError('PREFERENCES_MIXED', `This preprocess entry makes ${here}, and the entry before it ${before}: one run cannot train on both.`, {
    option: ['data'],
    hint: 'Leave one of the two out, or train on each in a run of its own.',
  });
}

/** What is never separated: each pair, or each example by itself. */
export function unitsOf<T>(examples: readonly T[], preferences: true | undefined): readonly (readonly T[])[] {
  if (preferences === undefined) return examples.map((example) => [example]);
  if (examples.length % 2 !== 0) throw new RangeError(`Pairs have two halves each, and there are ${examples.length}.`);
  return Array.from({ length: examples.length / 2 }, (_, pair) => examples.slice(2 * pair, 2 * pair + 2));
}

/**
 * Indices of the units of each row. All that came of one row is trained on or held out together: evaluating on the
 * other half of a document that was trained on says little. Where all came of one row, each unit is by itself.
 */
function rowsOf(units: readonly (readonly Example[])[]): readonly (readonly number[])[] {
  const rowToUnits = new Map<string, number[]>();
  for (const [index, unit] of units.entries()) {
    const { info } = unit[0]!;
    const key = `${info.line}:${info.file}`;
    const row = rowToUnits.get(key);
    if (row === undefined) rowToUnits.set(key, [index]);
    else row.push(index);
  }
  return rowToUnits.size === 1 ? units.map((_, index) => [index]) : [...rowToUnits.values()];
}

/** Sequences, and the examples in the order in which they stand in them. */
function layOut(examples: readonly Example[], { maxLength, packing, preferences }: DatasetParts): { readonly sequences: readonly Packed[]; readonly examples: readonly Example[] } {
  if (packing && preferences === true) throw new RangeError('A pair is a sequence of its own, so pairs are not packed.');
  const bins = packing ? packBestFit(examples.map((example) => example.inputIds.length), maxLength).map((bin) => bin.map((index) => examples[index]!)) : unitsOf(examples, preferences);
  return { sequences: bins.map(joined), examples: bins.flat() };
}

function joined(examples: readonly Example[]): Packed {
  if (examples.length === 1) {
    const { inputIds, labels } = examples[0]!;
    return { inputIds, labels, offsets: Int32Array.of(0, inputIds.length) };
  }
  const offsets = new Int32Array(examples.length + 1);
  for (const [index, example] of examples.entries()) offsets[index + 1] = offsets[index]! + example.inputIds.length;
  const inputIds = new Int32Array(offsets[examples.length]!);
  const labels = new Int32Array(inputIds.length);
  for (const [index, example] of examples.entries()) {
    inputIds.set(example.inputIds, offsets[index]);
    labels.set(example.labels, offsets[index]);
  }
  return { inputIds, labels, offsets };
}
