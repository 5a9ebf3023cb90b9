import { relative } from 'node:path';
import { Command } from 'commander';
import pc from 'picocolors';
import type { GenerationReport, KernelReport, Logger, SlotReport, SlotState } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { STAGES } from '../../kernel/hooks.ts';
import { openHost } from '../../host/open-host.ts';
import { daemonOf } from '../state-option.ts';
import { scaffoldPlugin } from '../scaffold.ts';

const PAINT: Readonly<Record<SlotState, (text: string) => string>> = { active: pc.green, pending: pc.yellow, failed: pc.red, disabled: pc.dim };

/** What goes wrong with a plugin is in the report; logging it too would say it twice. */
const QUIET: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => QUIET };

interface ReportOptions {
  readonly plugins?: readonly string[];
  readonly json?: boolean;
  readonly daemon?: boolean;
  readonly state?: string;
}

/** `graft plugins`: what the kernel knows of them, and a folder to begin one with. */
export function pluginsCommand(): Command {
  const command = new Command('plugins').description('list, explain and scaffold plugins');
  command
    .command('list', { isDefault: true })
    .description('one line a plugin: id, version, generation, state, reason')
    .option('--plugins <dir...>', 'look into these folders too')
    .option('--daemon', "the running daemon's, with the edits that it refused")
    .option('--state <dir>', "the same, of the daemon on this state folder")
    .option('--json', 'print the report as JSON')
    .action(async (options: ReportOptions) => print(await report(options), options, table));
  command
    .command('explain [id]')
    .description('who needs whom, what each waits for, how long it took to set up, what it holds open')
    .option('--plugins <dir...>', 'look into these folders too')
    .option('--daemon', "the running daemon's, with the edits that it refused")
    .option('--state <dir>', "the same, of the daemon on this state folder")
    .option('--json', 'print the report as JSON')
    .action(async (id: string | undefined, options: ReportOptions) => print(only(await report(options), id), options, explanation));
  command
    .command('new <name>')
    .description('write the folder of a plugin that works and passes its own test')
    .requiredOption('--stage <stage>', `the hook that it implements: ${STAGES.join(', ')}`)
    .option('--dir <dir>', 'folder to write it into', 'plugins')
    .action(async (name: string, { stage, dir }: { readonly stage: string; readonly dir: string }) => {
      const made = await scaffoldPlugin(name, stage, dir);
      process.stdout.write(`Wrote ${shown(made.dir)}: ${made.files.join(', ')}.\nIts README.md says how to use it and how to run its test.\n`);
    });
  return command;
}

async function report({ plugins, daemon, state }: ReportOptions): Promise<KernelReport> {
  if (daemon === true || state !== undefined) return (await daemonOf({ state })).plugins();
  const host = await openHost({ pluginDirs: plugins, log: QUIET });
  try {
    return host.kernel.explain();
  } finally {
    await host.dispose();
  }
}

function only(report: KernelReport, id: string | undefined): KernelReport {
  if (id === undefined) return report;
  const slots = report.slots.filter((slot) => slot.id === id || slot.manifest.name === id);
  if (slots.length > 0) return { ...report, slots, rejected: [] };
  throw new GraftError('PLUGIN_UNKNOWN', `There is no plugin ${id}.`, { hint: `There are: ${report.slots.map((slot) => slot.id).join(', ')}.` });
}

function print(report: KernelReport, { json }: ReportOptions, render: (report: KernelReport) => string): void {
  process.stdout.write(json === true ? `${JSON.stringify(report, undefined, 2)}\n` : render(report));
}

function table({ slots, rejected }: KernelReport): string {
  const rows = slots.map(({ id, manifest, current, state, reason }) => [id, manifest.version, current?.hash.slice(0, 12) ?? '-', state, reason ?? '']);
  const head = ['plugin', 'version', 'generation', 'state', 'reason'];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string[] => cells.map((cell, column) => (column === head.length - 1 ? cell : cell.padEnd(widths[column]!)));
  const body = rows.map((row) => line(row).map((cell, column) => (column === 3 ? PAINT[row[3] as SlotState](cell) : cell)).join('  ').trimEnd());
  return [pc.bold(line(head).join('  ')), ...body, ...rejections(rejected), ''].join('\n');
}

function explanation({ apiVersion, slots, rejected }: KernelReport): string {
  return [`plugin API ${apiVersion}`, '', ...slots.flatMap((slot) => [...explainSlot(slot), '']), ...rejections(rejected)].join('\n').trimEnd() + '\n';
}

function explainSlot({ id, manifest, dir, state, reason, consumes, dependents, current, draining, swaps, failures }: SlotReport): string[] {
  const line = (label: string, text: string): string => `  ${label.padEnd(10)} ${text}`;
  return [
    `${pc.bold(id)}  ${PAINT[state](state)}`,
    ...(reason === undefined ? [] : [line('reason', reason)]),
    line('package', `${manifest.packageName} ${manifest.version}, for plugin API ${manifest.api}, swap: ${manifest.swap}`),
    line('folder', shown(dir)),
    ...(consumes.length > 0 ? [line('consumes', consumes.join(', '))] : []),
    ...(dependents.length > 0 ? [line('consumed by', dependents.join(', '))] : []),
    ...(current === undefined ? [] : explainGeneration('serves', current)),
    ...draining.flatMap((generation) => explainGeneration('drains', generation)),
    line('so far', `${swaps} swaps, ${failures} failures`),
  ];
}

function explainGeneration(label: string, { number, hash, leases, holds, buildMs, evaluateMs, setupMs, activatedAt }: GenerationReport): string[] {
  const times = Object.entries({ build: buildMs, evaluate: evaluateMs, setup: setupMs }).map(([step, ms]) => `${step} ${ms.toFixed(1)} ms`);
  return [
    `  ${label.padEnd(10)} generation ${number} (${hash.slice(0, 12)}) since ${activatedAt.toISOString()}: ${times.join(', ')}; ${leases} in use`,
    `  ${'holds'.padEnd(10)} ${holds.join(', ')}`,
  ];
}

function rejections(rejected: KernelReport['rejected']): string[] {
  return rejected.length === 0 ? [] : ['', pc.bold('skipped'), ...rejected.map(({ reason }) => `  ${reason}`)];
}

function shown(dir: string): string {
  const short = relative(process.cwd(), dir);
  return short === '' || short.startsWith('..') ? dir : short;
}
