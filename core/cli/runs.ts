/** What `graft run` and `graft resume` share: carrying runs out in front of a person or a program. */
import { relative } from 'node:path';
import pc from 'picocolors';
import type { RunConfig } from '../config/index.ts';
import type { Subscriber } from '../run/events.ts';
import type { Outcome } from '../run/experiment.ts';
import { formatBytes, formatCount, formatLoss, formatShare } from '../run/reporters/format.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { comparisonTable } from './comparison.ts';
import { EXIT } from './exit.ts';
import type { Host } from '../host/open-host.ts';
import { interruption } from './interruption.ts';

export interface RunFlags {
  /** Events as JSON lines on standard output, and nothing else there. */
  readonly json?: boolean;
  /** Only how it ended. */
  readonly quiet?: boolean;
  readonly samples: number;
}

/**
 * Carries out runs one after another and sets the process's exit code.
 * @param resume run directory to go on with; then there is one config, the one inside it
 */
export async function carryOut(configs: readonly RunConfig[], host: Host, flags: RunFlags, resume?: string): Promise<void> {
  const { runExperiment } = await import('../run/experiment.ts');
  const say = (text: string): void => void (flags.json === true ? process.stderr : process.stdout).write(`${text}\n`);
  const interrupted = interruption(() => process.stderr.write(`\n${pc.yellow('stopping')} after this step, with a checkpoint; once more to stop at once\n`));
  const outcomes: Outcome[] = [];
  try {
    for (const [index, config] of configs.entries()) {
      if (configs.length > 1 && flags.json !== true) say(`${index === 0 ? '' : '\n'}${pc.bold(`run ${index + 1} of ${configs.length}`)}`);
      const subscribers = await reporters(flags);
      const outcome = await runExperiment(config, { kernel: host.kernel, log: host.log, cacheDir: host.cacheDir, signal: interrupted.signal, subscribers }, { resume, samples: flags.samples });
      outcomes.push(outcome);
      if (flags.json !== true || outcome.error !== undefined) say(ending(outcome));
      if (interrupted.signal.aborted) break;
    }
  } catch (error) {
    // Stopped before there was anything to go on with.
    if (!interrupted.signal.aborted || GraftError.is(error)) throw error;
    say(resume === undefined ? 'Stopped before training began: nothing is left behind.' : 'Stopped before training went on: the run can still be resumed.');
  } finally {
    interrupted.dispose();
  }
  if (configs.length > 1 && flags.json !== true) say(`\n${comparison(outcomes)}`);
  process.exitCode = interrupted.signal.aborted ? EXIT.interrupted : outcomes.some(({ record }) => record.status === 'failed') ? EXIT.failed : EXIT.ok;
}

async function reporters({ json, quiet }: RunFlags): Promise<readonly Subscriber[]> {
  const write = (text: string): void => void process.stdout.write(text);
  // A reader that went away (`graft run | head`) ends the reporting, not the run.
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => undefined);
  if (json === true) return [new (await import('../run/reporters/json.ts')).JsonReporter(write)];
  if (quiet === true) return [];
  if (process.stdout.isTTY) return [new (await import('../run/reporters/terminal.ts')).TerminalReporter(process.stdout)];
  return [new (await import('../run/reporters/plain.ts')).PlainReporter(write)];
}

/** Where everything is, and what went wrong. */
function ending({ dir, record, error }: Outcome): string {
  const path = relative(process.cwd(), dir).startsWith('..') ? dir : relative(process.cwd(), dir);
  const lines: string[] = [];
  if (record.status === 'succeeded') {
    const { result, memory } = record;
    if (result !== undefined) {
      const evaluated = result.evalLoss === undefined ? '' : `, evaluation loss ${result.evalLossBefore === undefined ? '' : `${formatLoss(result.evalLossBefore)} -> `}${formatLoss(result.evalLoss)}`;
      lines.push(`${pc.green('succeeded')} ${result.steps} steps, training loss ${formatLoss(result.loss)}${evaluated}, ${formatCount(result.tokensPerSecond)} tokens/s`);
    }
    if (memory !== undefined) lines.push(`memory    ${formatBytes(memory.measuredPeakBytes)} at its highest, ${formatBytes(memory.estimatedPeakBytes)} estimated`);
    lines.push(...(record.adapters ?? []).map((folder) => `saved     ${path}/${folder}`));
  } else {
    lines.push(record.status === 'cancelled' ? `${pc.yellow('stopped')} ${record.reason ?? ''}` : `${pc.red('failed')} ${failureOf(error)}`);
    lines.push(`resume    graft resume ${path}`);
  }
  lines.push(`report    ${path}/report.html`);
  return lines.join('\n');
}

/** A mistake as sentences; anything else is a fault of the code, and keeps its stack. */
function failureOf(error: unknown): string {
  if (!GraftError.is(error)) return error instanceof Error ? (error.stack ?? error.message) : reasonOf(error);
  return error.hint === undefined ? error.message : `${error.message}\n${error.hint}`;
}

/** The runs of a sweep beside each other. */
function comparison(outcomes: readonly Outcome[]): string {
  return comparisonTable(
    outcomes.map(({ record: { name, status, plan, result } }) => ({
      name,
      state: status,
      trains: plan === undefined ? '-' : `${formatCount(plan.trainableParameters)} (${formatShare(plan.trainableParameters, plan.totalParameters)})`,
      ...(result === undefined ? {} : { steps: String(result.steps), loss: result.loss, evalLoss: result.evalLoss, tokensPerSecond: result.tokensPerSecond }),
    })),
  );
}
