import { readFile, writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import pc from 'picocolors';
import { stringify } from 'yaml';
import { setOption } from '../arguments.ts';
import { ConfigError, displayPath, entriesOf, readPluginDirs, resolveConfigs } from '../../config/index.ts';
import type { RunConfig } from '../../config/index.ts';
import { configReference, withReference } from '../../config/reference.ts';
import { GraftError } from '../../kernel/errors.ts';
import { daemonReference, isDaemonConfig, readDaemonConfig } from '../../host/daemon-config.ts';
import { openHost } from '../../host/open-host.ts';
import { EXIT } from '../exit.ts';

interface ValidateOptions {
  readonly set?: readonly string[];
  readonly print?: boolean;
  /** true: print it; a path: put it into that Markdown file. */
  readonly reference?: true | string;
}

/** `graft validate`: everything that is wrong with configs, at its place, without running anything. */
export function validateCommand(): Command {
  return new Command('validate')
    .description('check configs; report every mistake with its place')
    .argument('[config...]', 'config files')
    .addOption(setOption())
    .option('--print', 'print what each config resolves to, as YAML')
    .option('--reference [file]', 'print the reference of all options as Markdown, or put it between its marks in a file')
    .addHelpText('after', '\nExits with 0 when every config is right, with 2 when one is not.')
    .action(validate);
}

async function validate(files: readonly string[], options: ValidateOptions): Promise<void> {
  if (files.length === 0 && options.reference === undefined) throw new GraftError('USAGE', 'Name a config to check: graft validate configs/lora.yaml');
  const problems: GraftError[] = [];
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!GraftError.is(error)) throw error;
      problems.push(error);
      return undefined;
    }
  };
  const readable: string[] = [];
  const pluginDirs: string[] = [];
  for (const file of files) {
    if (await isDaemonConfig(file)) {
      if ((await attempt(() => readDaemonConfig(file))) !== undefined) process.stdout.write(`${displayPath(file)}: ${pc.green('OK')}, a daemon's\n`);
      continue;
    }
    const dirs = await attempt(() => readPluginDirs(file, { set: options.set }));
    if (dirs === undefined) continue;
    readable.push(file);
    pluginDirs.push(...dirs);
  }
  const host = await openHost({ pluginDirs });
  try {
    if (options.reference !== undefined) await writeReference(configReference(host.kernel, [daemonReference]), options.reference);
    for (const file of readable) {
      const configs = await attempt(() => resolveConfigs(file, { schemas: host.kernel, set: options.set }));
      if (configs !== undefined) process.stdout.write(options.print === true ? printed(configs) : summary(file, configs));
    }
  } finally {
    await host.dispose();
  }
  if (problems.length === 0) return;
  process.stderr.write(problems.map(problemText).join('\n'));
  process.exitCode = EXIT.usage;
}

async function writeReference(reference: string, to: true | string): Promise<void> {
  if (to === true) process.stdout.write(reference);
  else await writeFile(to, withReference(await readFile(to, 'utf8'), reference));
}

function printed(configs: readonly RunConfig[]): string {
  return configs.map((config) => stringify(config.resolved, { lineWidth: 0 })).join('---\n');
}

function summary(file: string, configs: readonly RunConfig[]): string {
  const count = configs.length === 1 ? '' : `, ${configs.length} combinations`;
  return [`${displayPath(file)}: ${pc.green('OK')}${count}`, ...configs.map((config) => `  ${config.name}: ${stages(config)}`), ''].join('\n');
}

/** `load llama, preprocess instruct, inject lora + adapter, train sft, engine auto, seed 42`. */
function stages(config: RunConfig): string {
  const stageToUses = new Map<string, string[]>();
  for (const { stage, entry } of entriesOf(config)) stageToUses.set(stage, [...(stageToUses.get(stage) ?? []), entry.use]);
  return [...[...stageToUses].map(([stage, uses]) => `${stage} ${uses.join(' + ')}`), `engine ${config.engine.use}`, `seed ${config.seed}`].join(', ');
}

function problemText(error: GraftError): string {
  if (!ConfigError.is(error)) return `${pc.red('error')} ${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}\n`;
  const count = error.diagnostics.length;
  return `${error.message}\n\n${pc.red(`${count} ${count === 1 ? 'error' : 'errors'}`)}\n`;
}
