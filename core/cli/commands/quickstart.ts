import { existsSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { Command } from 'commander';
import pc from 'picocolors';
import { setOption } from '../arguments.ts';
import { resolveConfigs, type RunConfig } from '../../config/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import type { Subscriber } from '../../run/events.ts';
import type { Outcome } from '../../run/experiment.ts';
import { formatCount, formatDuration, formatLoss, formatShare } from '../../run/reporters/format.ts';
import { EXIT } from '../exit.ts';
import { GRAFT_HOME, openHost, type Host } from '../../host/open-host.ts';
import { interruption } from '../interruption.ts';

interface QuickstartOptions {
  readonly model?: string;
  readonly data?: string;
  readonly prompt: readonly string[];
  readonly set: readonly string[];
}

/** The strategies in the order shown, by the config of each. */
const STRATEGIES = ['lora', 'adapter', 'mixed'] as const;
/** Held-out questions of the shipped data that are answered and checked. */
const CHECKED = 24;
/** Examples of other people's data that are held out and read at most, so that it stays a quick start. */
const OWN_DATA = { eval: 16, samples: 128 } as const;

/** `graft quickstart`: LoRA, Adapter and both together on a small model, in a minute or two. */
export function quickstartCommand(): Command {
  return new Command('quickstart')
    .description('LoRA, Adapter and both together on a small model, in a minute or two')
    .option('--model <model>', 'another base: a Hugging Face folder or a Hub id')
    .option('--data <file>', `other instructions (JSON, JSONL, CSV or Parquet): the first ${OWN_DATA.samples}, of which ${OWN_DATA.eval} are held out`)
    .option('-p, --prompt <text>', 'an instruction to answer, in place of held-out ones (repeatable)', (value: string, all: readonly string[]) => [...all, value], [])
    .addOption(setOption('an option of the three configs, such as train.epochs=1'))
    .addHelpText('after', '\nThe configs are configs/lora.yaml, configs/adapter.yaml and configs/mixed.yaml; `graft run` takes each of them too.')
    .action(quickstart);
}

async function quickstart(options: QuickstartOptions): Promise<void> {
  const began = performance.now();
  const host = await openHost();
  const interrupted = interruption(() => process.stderr.write(`\n${pc.yellow('stopping')} after this step\n`));
  try {
    const configs = await Promise.all(STRATEGIES.map((name) => configOf(name, options, host)));
    const outcomes: Outcome[] = [];
    for (const [index, config] of configs.entries()) {
      say(`${index === 0 ? '' : '\n'}${pc.bold(`${index + 1} of ${configs.length}  ${titleOf(config)}`)}  ${pc.dim(shown(config.file))}`);
      const outcome = await train(config, host, interrupted.signal);
      outcomes.push(outcome);
      if (interrupted.signal.aborted) return;
      if (outcome.error !== undefined) throw outcome.error;
    }
    say(`\n${table(configs, outcomes)}`);
    await answers(configs, outcomes, options, host, interrupted.signal);
    say(`\n${pc.bold('Where it is')}`);
    for (const { dir, record } of outcomes) {
      for (const folder of record.adapters ?? []) say(`  adapter  ${shown(join(dir, folder))}`);
      say(`  report   ${shown(join(dir, 'report.html'))}`);
    }
    say(`\n${pc.bold('Next')}\n  npx graft serve ${shown(outcomes[0]!.dir)}\n  npx graft generate ${shown(outcomes[0]!.dir)} --chat -p "What colour is the frog?"`);
    say(pc.dim(`\n${formatDuration((performance.now() - began) / 1000)} in all.`));
  } catch (error) {
    if (!interrupted.signal.aborted || GraftError.is(error)) throw error;
  } finally {
    if (interrupted.signal.aborted) process.exitCode = EXIT.interrupted;
    interrupted.dispose();
    await host.dispose();
  }
}

/** A strategy's config with the model and the data that were asked for. */
async function configOf(name: string, { model, data, set }: QuickstartOptions, host: Host): Promise<RunConfig> {
  const overrides = [
    ...(model === undefined ? [] : [`load.model=${JSON.stringify(existsSync(model) ? resolve(model) : model)}`]),
    ...(data === undefined ? [] : [`preprocess=${JSON.stringify([{ use: 'instruct', data: existing(data), template: 'alpaca', max_length: 256, max_samples: OWN_DATA.samples, eval_split: OWN_DATA.eval }])}`]),
    ...set,
  ];
  const configs = await resolveConfigs(join(GRAFT_HOME, 'configs', `${name}.yaml`), { schemas: host.kernel, set: overrides });
  if (configs.length !== 1) throw new GraftError('USAGE', 'The quickstart runs each config once: leave sweeps to `graft run`.');
  return configs[0]!;
}

function existing(path: string): string {
  if (!existsSync(path)) throw new GraftError('DATA_NOT_FOUND', `${path} does not exist.`, { hint: 'Name a file of instructions with --data.' });
  return resolve(path);
}

async function train(config: RunConfig, host: Host, signal: AbortSignal): Promise<Outcome> {
  const { runExperiment } = await import('../../run/experiment.ts');
  return runExperiment(config, { ...host, signal, subscribers: [await reporter()] }, { samples: 0 });
}

/** A progress bar in a terminal; elsewhere a line for each evaluation, since there are three runs. */
async function reporter(): Promise<Subscriber> {
  if (process.stdout.isTTY) return new (await import('../../run/reporters/terminal.ts')).TerminalReporter(process.stdout);
  const plain = new (await import('../../run/reporters/plain.ts')).PlainReporter((text) => void process.stdout.write(text));
  return {
    name: plain.name,
    receive: (event) => {
      if (event.type !== 'step' && !(event.type === 'log' && event.level === 'info')) plain.receive(event);
    },
  };
}

/** What each strategy trains and what it came to. */
function table(configs: readonly RunConfig[], outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ record: { plan, result } }, index) => [
    titleOf(configs[index]!),
    plan === undefined ? '-' : formatCount(plan.trainableParameters),
    plan === undefined ? '-' : formatShare(plan.trainableParameters, plan.totalParameters),
    result?.evalLossBefore === undefined ? '-' : formatLoss(result.evalLossBefore),
    result?.evalLoss === undefined ? '-' : formatLoss(result.evalLoss),
    result === undefined ? '-' : `${result.steps}`,
    result === undefined ? '-' : formatDuration(result.seconds),
  ]);
  const lines = [['strategy', 'trains', 'share', 'loss before', 'loss after', 'steps', 'time'], ...rows];
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line, row) => {
      const text = line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('   ');
      return row === 0 ? pc.bold(text) : text;
    })
    .join('\n');
}

async function answers(configs: readonly RunConfig[], outcomes: readonly Outcome[], options: QuickstartOptions, host: Host, signal: AbortSignal): Promise<void> {
  const { compareAnswers } = await import('../../run/compare.ts');
  const contenders = configs.map((config, index) => ({ name: titleOf(config), config, adapters: join(outcomes[index]!.dir, 'adapters') }));
  const comparison = await compareAnswers(contenders, { ...host, signal, emit: () => undefined }, options.prompt, options.data === undefined ? CHECKED : 0);
  const width = Math.max(...comparison.names.map((name) => name.length));
  say(`\n${pc.bold(options.prompt.length > 0 ? 'Answers' : 'Answers to instructions that were held out')}`);
  for (const { prompt, answers: texts } of comparison.rows) {
    say(`\n  ${pc.cyan(prompt)}`);
    for (const [index, name] of comparison.names.entries()) say(`    ${(index === 0 ? pc.dim : String)(name.padEnd(width))}  ${texts[index]!}`);
  }
  if (comparison.exact !== undefined) {
    const { of, right } = comparison.exact;
    say(`\n  Answered word for word as expected, of ${of} held out: ${comparison.names.map((name, index) => `${name} ${right[index]!}`).join(', ')}.`);
  }
}

/** `LoRA`, `LoRA + Adapter`: the strategies as people write them. */
function titleOf(config: RunConfig): string {
  const written: Readonly<Record<string, string>> = { lora: 'LoRA', adapter: 'Adapter' };
  return config.inject.map(({ use }) => written[use] ?? use).join(' + ');
}

function shown(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith('..') ? path : near;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
