import { Command } from 'commander';
import pc from 'picocolors';
import { displayPath } from '../../config/index.ts';
import type { WatchedConfig } from '../../host/config-folders.ts';
import { daemonOf, withState, type StateOptions } from '../state-option.ts';
import { table } from '../table.ts';

/** `graft configs`: the configs that the daemon watches. */
export function configsCommand(): Command {
  const command = new Command('configs').description('list the configs that the daemon watches, and what is wrong with them').option('--json', 'as JSON');
  return withState(command).action(async (options: StateOptions & { readonly json?: boolean }) => {
    const configs = await (await daemonOf(options)).configs();
    process.stdout.write(`${options.json === true ? JSON.stringify(configs) : listOf(configs)}\n`);
  });
}

function listOf(configs: readonly WatchedConfig[]): string {
  if (configs.length === 0) return "There are none. `configs: ./experiments` in the daemon's config names a folder to watch.";
  const rows = configs.map(({ file, state, queuesOnChange, queued }) => [displayPath(file), state, queuesOnChange ? 'on-change' : '-', queued === undefined ? '-' : new Date(queued.at).toISOString(), queued?.jobs.join(', ') ?? '']);
  const wrong = configs.flatMap(({ state, reason }) => (state === 'invalid' && reason !== undefined ? [`${pc.red('error')} ${reason}`] : []));
  return [table(['config', 'state', 'queue', 'queued', 'jobs'], rows), ...wrong].join('\n\n');
}
