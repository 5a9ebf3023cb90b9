import { resolve } from 'node:path';
import { Command } from 'commander';
import { setOption } from '../arguments.ts';
import { daemonOf, withState, type StateOptions } from '../state-option.ts';

/** What follows from the state that the job is in now. */
const SAID: Readonly<Record<string, string>> = {
  waiting: 'waits, and begins so',
  running: 'is checkpointed after its step, and goes on so',
  paused: 'is paused, and goes on so when it is resumed',
  failed: 'has failed, and goes on so when it is tried again: graft retry',
  cancelled: 'has been cancelled, and goes on so when it is tried again: graft retry',
};

/** `graft swap`: another config or newer plugin code for a job that is under way. */
export function swapCommand(): Command {
  const command = new Command('swap')
    .description('go on with a job under another config, or by newer plugin code')
    .argument('<job>', 'its id')
    .argument('[config]', 'config file; without it the one that was submitted is read again')
    .addOption(setOption());
  return withState(command)
    .addHelpText('after', "\nIt is tried out beside the run first: what its checkpoints can't go on with, such as another base model, is refused, and the run goes on undisturbed. Under another strategy, tensors of the same names and shapes go on with what they have learned; the rest begins anew.")
    .action(swap);
}

async function swap(id: string, config: string | undefined, options: StateOptions & { readonly set: readonly string[] }): Promise<void> {
  const client = await daemonOf(options);
  const { job, notes } = await client.swap(id, { config: config === undefined ? undefined : resolve(config), set: options.set, cwd: process.cwd() });
  for (const note of notes) process.stdout.write(`${note}\n`);
  process.stdout.write(`${id}  ${SAID[job.state] ?? job.state}\n`);
}
