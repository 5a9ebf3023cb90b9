import { relative } from 'node:path';
import type pc from 'picocolors';
import type { RunConfig } from '../../config/index.ts';
import type { ExampleInfo } from '../../contracts/index.ts';
import { unitsOf } from '../../data/dataset.ts';
import { formatCount, formatShare } from '../../run/reporters/format.ts';
import { trainedTokens } from '../../tensor/packed.ts';
import { exampleLengths, firstExamples, type ShownExample } from './example-tokens.ts';
import { histogram, histogramLines, type Bin } from './histogram.ts';
import type { Prepared } from './prepare.ts';
import { tokenText } from './token-text.ts';

type Colors = ReturnType<typeof pc.createColors>;

/** All that `graft preview` says of one side of a dataset. */
export interface Preview {
  readonly config: string;
  readonly side: 'train' | 'eval';
  readonly counts: {
    /** Halves of pairs each by itself. */
    readonly examples: number;
    /** Undefined where examples are no pairs. */
    readonly pairs: number | undefined;
    readonly sequences: number;
    readonly tokens: number;
    readonly trainedTokens: number;
    /** Of pairs, those with a half that was cut. */
    readonly truncatedExamples: number;
    /** Examples in which the token that ends the assistant's turn is trained on, of pairs those in both halves of which it is; undefined for plain text. */
    readonly endOfTurnTrained: number | undefined;
    /** Of both sides. */
    readonly badRows: number;
  };
  readonly lengths: readonly Bin[];
  readonly examples: readonly ShownExample[];
}

export function previewOf(config: RunConfig, { dataset, tokenizer }: Prepared, side: 'train' | 'eval', count: number): Preview {
  const sequences = dataset[side];
  const infos = (side === 'train' ? dataset.info : dataset.evalInfo) ?? [];
  const lengths = exampleLengths(sequences);
  const pairs = dataset.preferences === true;
  const units = unitsOf(infos, dataset.preferences);
  const turns = units.filter((unit) => unit.every((info) => info.endOfTurnTrained !== undefined));
  return {
    config: config.file,
    side,
    counts: {
      examples: lengths.length,
      pairs: pairs ? sequences.length : undefined,
      sequences: sequences.length,
      tokens: lengths.reduce((sum, length) => sum + length, 0),
      trainedTokens: sequences.reduce((sum, sequence) => sum + trainedTokens(sequence), 0),
      truncatedExamples: units.filter((unit) => unit.some((info) => info.truncated > 0)).length,
      endOfTurnTrained: turns.length === 0 ? undefined : turns.filter((unit) => unit.every((info) => info.endOfTurnTrained === true)).length,
      badRows: dataset.stats.badRows,
    },
    lengths: histogram(lengths),
    examples: firstExamples(dataset, side, count, tokenizer),
  };
}

export function previewText(preview: Preview, colors: Colors): string {
  const { counts, examples, side } = preview;
  const legend = colors.isColorSupported
    ? `${colors.green('green')} is trained on, ${colors.dim('dim')} is read only; every other token is ${colors.underline('underlined')}`
    : '[brackets] are trained on; the rest is read only, with | between tokens';
  const [unit, total] = counts.pairs === undefined ? ['example', counts.examples] : ['pair', counts.pairs];
  const of = `of ${formatCount(total)}`;
  const shown = examples.map((example, index) => {
    const title = example.half === undefined ? `example ${index + 1} ${of}` : `pair ${Math.floor(index / 2) + 1} ${of}, ${example.half}`;
    return `${colors.bold(title)}${describe(example, colors)}\n${tokenText(example.tokens, colors).replace(/\n$/, '')}\n`;
  });
  const packed = counts.sequences === total ? '' : ` in ${formatCount(counts.sequences)} sequences`;
  const lines = [
    `${colors.bold(side)}     ${formatCount(total)} ${unit}s${packed}, ${formatCount(counts.tokens)} tokens, ${formatCount(counts.trainedTokens)} trained on (${formatShare(counts.trainedTokens, counts.tokens)})`,
    `truncated ${counts.truncatedExamples === 0 ? 'none' : colors.yellow(`${formatCount(counts.truncatedExamples)} ${of} ${unit}s`)}`,
    ...(counts.endOfTurnTrained === undefined ? [] : [`turn end  trained on in ${counts.pairs === undefined ? '' : 'both halves of '}${formatCount(counts.endOfTurnTrained)} ${of} ${unit}s`]),
    `bad rows  ${counts.badRows === 0 ? 'none' : colors.yellow(formatCount(counts.badRows))}`,
    `lengths   in tokens${counts.pairs === undefined ? '' : ', of each half'}`,
    ...histogramLines(preview.lengths).map((line) => `  ${line}`),
  ];
  return `${legend}\n\n${shown.join('\n')}\n${lines.join('\n')}\n`;
}

function describe({ info, tokens }: ShownExample, colors: Colors): string {
  const trained = tokens.filter((token) => token.trained).length;
  return [info === undefined ? '' : `  ${shortPath(info)}`, `  ${formatCount(tokens.length)} tokens, ${formatCount(trained)} trained on`, ...(info === undefined ? [] : fateOf(info, colors))].join('');
}

/** What was cut, and whether the model learns to stop here. */
function fateOf(info: ExampleInfo, colors: Colors): readonly string[] {
  const cut = info.truncated === 0 ? [] : [colors.yellow(`  ${formatCount(info.truncated)} of ${formatCount(info.fullLength)} tokens cut off`)];
  if (info.endOfTurnTrained === undefined) return cut;
  return [...cut, info.endOfTurnTrained ? '  turn end trained on' : colors.yellow('  turn end not trained on')];
}

function shortPath({ file, line }: ExampleInfo): string {
  const short = relative(process.cwd(), file);
  return `${short.startsWith('..') ? file : short}:${line}`;
}
