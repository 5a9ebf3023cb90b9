import { Command } from 'commander';
import pc from 'picocolors';
import { setOption } from '../arguments.ts';
import { readPluginDirs, resolveConfigs } from '../../config/index.ts';
import type { RunEvent } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { planRows } from '../../run/reporters/plan-text.ts';
import { EXIT } from '../exit.ts';
import { openHost } from '../../host/open-host.ts';
import { interruption } from '../interruption.ts';
import { teller } from '../teller.ts';

interface PlanOptions {
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** `graft plan`: what a run will train, how long, and in how much memory, before it does. */
export function planCommand(): Command {
  return new Command('plan')
    .description('say what a run will train, how many steps it takes, and in how much memory')
    .argument('<config>', 'config file; every combination of its sweep is planned')
    .addOption(setOption('an option, such as train.batch_size=4'))
    .option('--json', 'one plan a line as JSON; sizes in bytes')
    .addHelpText('after', '\nExits with 0, with 2 on a mistake in the config or the data, 130 when stopped.')
    .action(plan);
}

async function plan(file: string, options: PlanOptions): Promise<void> {
  const host = await openHost({ pluginDirs: await readPluginDirs(file, { set: options.set }) });
  const interrupted = interruption(() => undefined);
  const said = await teller();
  // The stages are not the answer, and what they warn of is worth knowing before the run.
  const emit = (event: RunEvent): void => (event.type === 'stage' ? undefined : said.emit(event));
  try {
    const { planRun } = await import('../../run/planning.ts');
    for (const config of await resolveConfigs(file, { schemas: host.kernel, set: options.set })) {
      const planned = await planRun(config, { kernel: host.kernel, log: host.log, cacheDir: host.cacheDir, signal: interrupted.signal, emit });
      said.end();
      const rows = planRows(planned.plan).map(([name, text]) => `  ${pc.dim(name.padEnd(7))} ${text}`);
      process.stdout.write(options.json === true ? `${JSON.stringify(planned)}\n` : `${pc.bold(planned.name)} on ${planned.engine}\n${rows.join('\n')}\n`);
    }
  } catch (error) {
    if (!interrupted.signal.aborted || GraftError.is(error)) throw error;
    process.exitCode = EXIT.interrupted;
  } finally {
    said.end();
    interrupted.dispose();
    await host.dispose();
  }
}
