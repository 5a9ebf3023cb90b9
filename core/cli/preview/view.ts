import { relative } from 'node:path';
import type pc from 'picocolors';
import type { RunConfig } from '../../config/index.ts';
import type { ExampleInfo } from '../../contracts/index.ts';
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
    readonly examples: number;
    readonly sequences: number;
    readonly tokens: number;
    readonly trainedTokens: number;
    readonly truncatedExamples: number;
    /** Examples in which the token that ends the assistant's turn is trained on; undefined for plain text. */
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
  const turns = infos.filter((info) => info.endOfTurnTrained !== undefined);
  return {
    config: config.file,
    side,
    counts: {
      examples: lengths.length,
      sequences: sequences.length,
      tokens: lengths.reduce((sum, length) => sum + length, 0),
      trainedTokens: sequences.reduce((sum, sequence) => sum + trainedTokens(sequence), 0),
      truncatedExamples: infos.filter((info) => info.truncated > 0).length,
      endOfTurnTrained: turns.length === 0 ? undefined : turns.filter((info) => info.endOfTurnTrained === true).length,
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
  const shown = examples.map((example, index) => `${colors.bold(`example ${index + 1} of ${formatCount(counts.examples)}`)}${describe(example, colors)}\n${tokenText(example.tokens, colors).replace(/\n$/, '')}\n`);
  const packed = counts.sequences === counts.examples ? '' : ` in ${formatCount(counts.sequences)} sequences`;
  const lines = [
    `${colors.bold(side)}     ${formatCount(counts.examples)} examples${packed}, ${formatCount(counts.tokens)} tokens, ${formatCount(counts.trainedTokens)} trained on (${formatShare(counts.trainedTokens, counts.tokens)})`,
    `truncated ${counts.truncatedExamples === 0 ? 'none' : colors.yellow(`${formatCount(counts.truncatedExamples)} of ${formatCount(counts.examples)} examples`)}`,
    ...(counts.endOfTurnTrained === undefined ? [] : [`turn end  trained on in ${formatCount(counts.endOfTurnTrained)} of ${formatCount(counts.examples)} examples`]),
    `bad rows  ${counts.badRows === 0 ? 'none' : colors.yellow(formatCount(counts.badRows))}`,
    'lengths   in tokens',
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
