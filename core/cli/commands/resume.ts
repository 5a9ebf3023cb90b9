import { Command } from 'commander';
import type { RunFlags } from '../runs.ts';
import { daemonOf, withState, type StateOptions } from '../state-option.ts';
import { resumeRun, withRunFlags } from './run.ts';

/** `graft resume`: the losses that follow are those that the run would have had. */
export function resumeCommand(): Command {
  const command = new Command('resume')
    .description('go on with a run that was stopped or killed, from its newest checkpoint')
    .argument('<run>', 'run directory, or a paused job of the daemon');
  return withState(withRunFlags(command))
    .addHelpText('after', '\nExits with 0 when the run succeeded, 1 when it failed, 2 when the directory is no run to go on with, 130 when stopped.')
    .action(resume);
}

async function resume(run: string, options: RunFlags & StateOptions): Promise<void> {
  if (!/^job-[0-9a-f]{12}$/.test(run)) return resumeRun(run, options);
  await (await daemonOf(options)).act('resume', run);
  process.stdout.write(`${run}  waits\n`);
}
