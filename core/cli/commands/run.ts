import { isDeepStrictEqual } from 'node:util';
import { Command, InvalidArgumentError, Option } from 'commander';
import { setOption } from '../arguments.ts';
import { readPluginDirs, resolveConfigs } from '../../config/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { readRunRecord } from '../../run/run-directory.ts';
import { settleConfig } from '../../run/spans.ts';
import { openHost, type Host } from '../../host/open-host.ts';
import { carryOut, type RunFlags } from '../runs.ts';

interface RunOptions extends RunFlags {
  readonly set: readonly string[];
  readonly resume?: string;
}

/** `graft run`: fine-tune as a config says, every combination of its sweep. */
export function runCommand(): Command {
  const command = new Command('run')
    .description('fine-tune as a config says')
    .argument('[config]', 'config file; every combination of its sweep is a run')
    .addOption(setOption())
    .option('--resume <dir>', 'go on with the run in this directory from its newest checkpoint');
  return withRunFlags(command)
    .addHelpText('after', '\nExits with 0 when every run succeeded, 1 when one failed, 2 on a mistake in the config, 130 when stopped.')
    .action(run);
}

/** The options that `run` and `resume` share. */
export function withRunFlags(command: Command): Command {
  return command
    .option('--samples <n>', 'examples answered by the base and by the result at the end', count, 2)
    .addOption(new Option('--json', 'events as JSON lines on standard output').conflicts('quiet'))
    .option('--quiet', 'print only how it ended');
}

async function run(file: string | undefined, options: RunOptions): Promise<void> {
  if (options.resume !== undefined) return resumeRun(options.resume, options, file);
  if (file === undefined) throw new GraftError('USAGE', 'Name a config to run: graft run configs/lora.yaml');
  await withHost(await readPluginDirs(file, { set: options.set }), async (host) => {
    await carryOut(await resolveConfigs(file, { schemas: host.kernel, set: options.set }), host, options);
  });
}

/**
 * Goes on with a run.
 * @param file when given, must still say what the run began with
 * @throws GraftError `NOT_A_RUN`, `RESUME_CONFIG_DIFFERS`
 */
export async function resumeRun(dir: string, options: RunFlags & { readonly set?: readonly string[] }, file?: string): Promise<void> {
  await readRunRecord(dir);
  const inside = await settleConfig(dir);
  await withHost(await readPluginDirs(inside), async (host) => {
    const configs = await resolveConfigs(inside, { schemas: host.kernel });
    if (file !== undefined || (options.set ?? []).length > 0) {
      const asked = await resolveConfigs(file ?? inside, { schemas: host.kernel, set: options.set });
      if (!asked.some(({ resolved }) => isDeepStrictEqual(resolved, configs[0]!.resolved))) {
        throw new GraftError('RESUME_CONFIG_DIFFERS', `The run in ${dir} began with another config, and goes on only with the same one.`, {
          hint: `Leave the config out (graft resume ${dir}), or start a new run.`,
        });
      }
    }
    await carryOut(configs, host, options, dir);
  });
}

async function withHost(pluginDirs: readonly string[], act: (host: Host) => Promise<void>): Promise<void> {
  const host = await openHost({ pluginDirs });
  try {
    await act(host);
  } finally {
    await host.dispose();
  }
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('It is a whole number from 0.');
  return value;
}
