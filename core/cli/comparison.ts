import { tailsOf } from '../config/index.ts';
import { formatCount, formatLoss } from '../run/reporters/format.ts';
import { table } from './table.ts';

/** Characters of an option's value that are shown. */
const SHOWN = 40;

/** One of several runs that stand beside each other. */
export interface ComparedRun {
  readonly name: string;
  /** Values of the options in which the runs differ. */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly state: string;
  readonly trains?: string;
  readonly steps?: string;
  readonly loss?: number;
  readonly evalLoss?: number;
  readonly tokensPerSecond?: number;
}

/**
 * Runs beside each other, the lowest evaluation loss marked.
 * @param options dotted paths of the options that are shown
 */
export function comparisonTable(runs: readonly ComparedRun[], options: readonly string[] = []): string {
  const losses = runs.flatMap(({ evalLoss }) => evalLoss ?? []);
  const best = losses.length === 0 ? undefined : Math.min(...losses);
  const trains = runs.some((run) => run.trains !== undefined);
  const rows = runs.map((run) => [
    run.name,
    ...options.map((option) => (run.options !== undefined && option in run.options ? shown(run.options[option]) : '-')),
    run.state,
    ...(trains ? [run.trains ?? '-'] : []),
    run.steps ?? '-',
    run.loss === undefined ? '-' : formatLoss(run.loss),
    run.evalLoss === undefined ? '-' : `${formatLoss(run.evalLoss)}${run.evalLoss === best ? ' *' : ''}`,
    run.tokensPerSecond === undefined ? '-' : formatCount(run.tokensPerSecond),
  ]);
  return table(['run', ...tailsOf(options), 'status', ...(trains ? ['trains'] : []), 'steps', 'train loss', 'eval loss', 'tokens/s'], rows);
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length <= SHOWN ? text : `...${text.slice(3 - SHOWN)}`;
}
