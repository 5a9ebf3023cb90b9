/** Training steps of whole models, ours and PEFT's in turn: tokens a second, share of the machine's peak, memory, time to the first step. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './median.ts';
import { SHAPES } from './shapes.ts';

const CHILD = join(import.meta.dirname, 'train-child.ts');
const SHARED = fileURLToPath(new URL('../../../shared', import.meta.url));

interface Case {
  readonly shape: string;
  readonly dtype: 'f32' | 'bf16';
  readonly batch: number;
  /** Undefined: the lengths of a file. */
  readonly seq?: number;
  /** Of the peer: whether it sorts examples by their length first. */
  readonly group?: boolean;
}

/** What both sides print, as far as it is compared. */
interface Figures {
  readonly tokens_per_s: number;
  readonly examples_per_s: number;
  readonly peak_rss_mb: number;
  readonly first_step_s: number;
  /** Ours alone. */
  readonly gflops?: number;
  readonly peak_gflops?: number;
  readonly detail?: string;
}

const USAGE = `npm run bench -- train [--shapes 15m,135m,1b] [--dtypes f32,bf16] [--seqs 256,512|none] [--lengths FILE|none] [--examples 128]
  [--runs 3] [--steps 3] [--peers DIR] [--peer-script FILE] [--engine native] [--recompute block] [--micro-batch-tokens N] [--low-memory]`;

/** As {@link USAGE} has it; options that don't parse end the process with 2. */
export async function benchTrain(args: readonly string[]): Promise<void> {
  const values = optionsOf(args);
  const lengths = existsSync(values.lengths) ? values.lengths : undefined;
  if (lengths === undefined && values.lengths !== 'none') process.stdout.write(`${values.lengths} is not there: real lengths are left out\n`);
  const cases = casesOf(values.shapes.split(','), values.dtypes.split(',') as Case['dtype'][], values.seqs === 'none' ? [] : values.seqs.split(',').map(Number), lengths !== undefined);
  process.stdout.write(`${'shape'.padEnd(6)}${'dtype'.padEnd(6)}${'data'.padEnd(16)}${'tokens/s'.padStart(10)}${'of peak'.padStart(9)}${'MiB'.padStart(7)}${'first'.padStart(8)}`);
  process.stdout.write(values.peers === undefined ? '\n' : ` |${'PEFT'.padStart(9)}${'MiB'.padStart(7)}${'first'.padStart(8)} |${'speed'.padStart(8)}${'memory'.padStart(8)}\n`);
  const written = mkdtempSync(join(tmpdir(), 'graft-bench-'));
  process.on('exit', () => rmSync(written, { recursive: true, force: true }));
  for (const each of cases) {
    const checkpoint = values['low-memory'] ? join(written, `${each.shape}-${each.dtype}`) : undefined;
    if (checkpoint !== undefined && !existsSync(checkpoint)) figuresOf(process.execPath, ['--import', 'tsx', CHILD, ...flags({ shape: each.shape, dtype: each.dtype, write: checkpoint })]);
    const ours: Figures[] = [];
    const theirs: Figures[] = [];
    const own = [CHILD, ...flags({ mapped: checkpoint, engine: values.engine, shape: each.shape, dtype: each.dtype, steps: values.steps, recompute: values.recompute, 'micro-batch-tokens': values['micro-batch-tokens'] }), ...dataFlags(each, lengths, values.examples)];
    const peer = [values['peer-script'], ...flags({ shape: each.shape, dtype: each.dtype === 'f32' ? 'float32' : 'bfloat16', steps: values.steps }), ...dataFlags(each, lengths, values.examples), ...(each.group === true ? ['--group'] : [])];
    for (let run = 0; run < Number(values.runs); run++) {
      ours.push(figuresOf(process.execPath, ['--expose-gc', '--import', 'tsx', ...own]));
      if (values.peers !== undefined) theirs.push(figuresOf(join(values.peers, 'bin/python'), peer));
    }
    print(each, ours, theirs);
  }
}

function optionsOf(args: readonly string[]) {
  const options = {
    shapes: { type: 'string', default: '15m,135m,1b' },
    dtypes: { type: 'string', default: 'f32,bf16' },
    seqs: { type: 'string', default: '256,512' },
    lengths: { type: 'string', default: join(SHARED, 'data/alpaca_lengths.json') },
    examples: { type: 'string', default: '128' },
    runs: { type: 'string', default: '3' },
    steps: { type: 'string', default: '3' },
    peers: { type: 'string' },
    'peer-script': { type: 'string', default: join(SHARED, 'bench/peft_baseline.py') },
    engine: { type: 'string', default: 'native' },
    recompute: { type: 'string' },
    'micro-batch-tokens': { type: 'string' },
    'low-memory': { type: 'boolean', default: false },
  } as const;
  try {
    return parseArgs({ args: [...args], options }).values;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}\n`);
    process.exit(2);
  }
}

/** Fixed lengths as 512 tokens a step, and real lengths against the peer as it comes and with its examples sorted. */
function casesOf(shapes: readonly string[], dtypes: readonly Case['dtype'][], seqs: readonly number[], real: boolean): Case[] {
  const unknown = shapes.find((shape) => !(shape in SHAPES)) ?? dtypes.find((dtype) => dtype !== 'f32' && dtype !== 'bf16') ?? seqs.find((seq) => !(seq >= 1));
  if (unknown !== undefined) {
    process.stderr.write(`${unknown} is no shape (${Object.keys(SHAPES).join(', ')}), no dtype (f32, bf16) and no length.\n${USAGE}\n`);
    process.exit(2);
  }
  return shapes.flatMap((shape) =>
    dtypes.flatMap((dtype): Case[] => [
      ...seqs.map((seq) => ({ shape, dtype, seq, batch: Math.max(1, 512 / seq) })),
      ...(real && shape === '15m' ? [false, true].map((group) => ({ shape, dtype, batch: 8, group })) : []),
    ]),
  );
}

function flags(values: Readonly<Record<string, string | undefined>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
}

function dataFlags({ batch, seq }: Case, lengths: string | undefined, examples: string): string[] {
  return flags({ batch: String(batch), ...(seq === undefined ? { lengths, examples } : { seq: String(seq) }) });
}

/** Runs one side to its end; its last line is its figures. */
function figuresOf(command: string, args: readonly string[]): Figures {
  const { stdout, stderr, status } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${stderr.slice(-2000)}`);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Figures;
}

function print({ shape, dtype, seq, batch, group }: Case, ours: readonly Figures[], theirs: readonly Figures[]): void {
  const of = (side: readonly Figures[], key: 'tokens_per_s' | 'examples_per_s' | 'peak_rss_mb' | 'first_step_s'): number => median(side.map((figures) => figures[key]));
  const share = median(ours.map(({ gflops = Number.NaN, peak_gflops = Number.NaN }) => gflops / peak_gflops));
  const data = seq === undefined ? `real x ${batch}${group === true ? ' sorted' : ''}` : `${batch} x ${seq}`;
  process.stdout.write(`${shape.padEnd(6)}${dtype.padEnd(6)}${data.padEnd(16)}${of(ours, 'tokens_per_s').toFixed(1).padStart(10)}${`${(100 * share).toFixed(0)} %`.padStart(9)}${of(ours, 'peak_rss_mb').toFixed(0).padStart(7)}${`${of(ours, 'first_step_s').toFixed(1)} s`.padStart(8)}`);
  if (theirs.length > 0) {
    const speed = of(ours, 'examples_per_s') / of(theirs, 'examples_per_s');
    process.stdout.write(` |${of(theirs, 'tokens_per_s').toFixed(1).padStart(9)}${of(theirs, 'peak_rss_mb').toFixed(0).padStart(7)}${`${of(theirs, 'first_step_s').toFixed(1)} s`.padStart(8)} |${`${speed.toFixed(2)} x`.padStart(8)}${`${(of(ours, 'peak_rss_mb') / of(theirs, 'peak_rss_mb')).toFixed(2)} x`.padStart(8)}`);
  }
  process.stdout.write('\n');
}
