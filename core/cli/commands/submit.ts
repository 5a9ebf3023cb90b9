import { resolve } from 'node:path';
import { Command } from 'commander';
import { bounded, setOption } from '../arguments.ts';
import { follow } from '../job-events.ts';
import { daemonOf, withState, type StateOptions } from '../state-option.ts';

const NUMBER = bounded('a number', Number.isFinite);

interface SubmitOptions extends StateOptions {
  readonly set: readonly string[];
  readonly priority?: number;
  readonly attempts?: number;
  readonly cpu?: number;
  readonly memory?: number;
  readonly gpuMemory?: number;
  readonly group?: string;
  readonly follow?: boolean;
}

/** `graft submit`: a job for each combination of a config's sweep. */
export function submitCommand(): Command {
  const command = new Command('submit')
    .description('queue runs in the daemon')
    .argument('<config>', 'config file; every combination of its sweep is a job')
    .addOption(setOption())
    .option('--priority <n>', 'higher goes first', NUMBER)
    .option('--attempts <n>', 'attempts that may crash before the job has failed', NUMBER)
    .option('--cpu <cores>', 'cores that it takes, and threads that it computes with', NUMBER)
    .option('--memory <MiB>', 'memory that it takes, beyond which it is ended', NUMBER)
    .option('--gpu-memory <MiB>', 'GPU memory that it takes', NUMBER)
    .option('--group <name>', 'what the jobs belong to')
    .option('-f, --follow', 'show what the job tells until it has ended');
  return withState(command).action(submit);
}

async function submit(config: string, options: SubmitOptions): Promise<void> {
  const { set, priority, attempts, cpu, memory, gpuMemory, group } = options;
  const client = await daemonOf(options);
  const jobs = await client.submit({ config: resolve(config), cwd: process.cwd(), set, priority, max_attempts: attempts, group, resources: { cpu, memory_mb: memory, gpu_memory_mb: gpuMemory } });
  for (const job of jobs) process.stdout.write(`${job.id}  ${job.name}\n`);
  if (options.follow !== true) return;
  if (jobs.length > 1) process.stdout.write(`Following the first of ${jobs.length}; graft logs -f shows another.\n`);
  await follow(client, jobs[0]!.id);
}
