import { Command } from 'commander';
import pc from 'picocolors';
import { readPluginDirs, resolveConfigs } from '../../config/index.ts';
import { planRows } from '../../run/reporters/plan-text.ts';
import { openHost } from '../host.ts';
import { interruption } from '../interruption.ts';

interface PlanOptions {
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** `graft plan`: what a run will train, how long, and in how much memory, before it does. */
export function planCommand(): Command {
  return new Command('plan')
    .description('say what a run will train, how many steps it takes, and in how much memory')
    .argument('<config>', 'config file; every combination of its sweep is planned')
    .option('--set <path=value>', 'override an option, such as train.batch_size=4 (repeatable)', (value: string, all: readonly string[]) => [...all, value], [])
    .option('--json', 'one plan a line as JSON; sizes in bytes')
    .action(plan);
}

async function plan(file: string, options: PlanOptions): Promise<void> {
  const host = await openHost({ pluginDirs: await readPluginDirs(file, { set: options.set }) });
  const interrupted = interruption(() => undefined);
  try {
    const { planRun } = await import('../../run/planning.ts');
    for (const config of await resolveConfigs(file, { schemas: host.kernel, set: options.set })) {
      const planned = await planRun(config, { kernel: host.kernel, log: host.log, cacheDir: host.cacheDir, signal: interrupted.signal, emit: () => undefined });
      const rows = planRows(planned.plan).map(([name, text]) => `  ${pc.dim(name.padEnd(7))} ${text}`);
      process.stdout.write(options.json === true ? `${JSON.stringify(planned)}\n` : `${pc.bold(planned.name)} on ${planned.engine}\n${rows.join('\n')}\n`);
    }
  } finally {
    interrupted.dispose();
    await host.dispose();
  }
}
