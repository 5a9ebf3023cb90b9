/** `graft ps | logs | cancel | pause | retry | rm`: the jobs of a daemon. */
import { Command } from 'commander';
import pc from 'picocolors';
import type { DescribedJob } from '../../host/described-job.ts';
import type { Group } from '../../host/group.ts';
import type { ModelStanding } from '../../host/models/model-process.ts';
import { formatBytes, formatDuration, formatLoss } from '../../run/reporters/format.ts';
import { comparisonTable } from '../comparison.ts';
import { follow, show } from '../job-events.ts';
import { daemonOf, withState, type StateOptions } from '../state-option.ts';
import { table } from '../table.ts';

const ACTIVE = 'waiting,running,paused';
const MOST = 1000;
const MIB = 2 ** 20;

export function psCommand(): Command {
  const command = new Command('ps')
    .description('list the jobs of the daemon, and the models that it serves')
    .argument('[job]', 'one job in full, with its attempts')
    .option('--all', 'those that have ended, too')
    .option('--group <name>', 'those of a group beside each other, the best first, with the options in which they differ')
    .option('--json', 'as JSON');
  return withState(command).action(async (id: string | undefined, options: StateOptions & { readonly all?: boolean; readonly group?: string; readonly json?: boolean }) => {
    const client = await daemonOf(options);
    if (id !== undefined) {
      const known = await client.get(id);
      process.stdout.write(options.json === true ? `${JSON.stringify(known)}\n` : `${inFull(known)}\n`);
      return;
    }
    if (options.group !== undefined) {
      const group = await client.group(options.group);
      process.stdout.write(options.json === true ? `${JSON.stringify(group)}\n` : `${besideEachOther(group)}\n`);
      return;
    }
    const [jobs, models] = await Promise.all([client.list({ state: options.all === true ? undefined : ACTIVE, limit: MOST }), client.models()]);
    process.stdout.write(options.json === true ? `${JSON.stringify({ jobs, models })}\n` : `${listOf(jobs)}\n${jobs.length === MOST ? `These are the newest ${MOST}.\n` : ''}${models.length === 0 ? '' : `\n${servedOf(models)}\n`}`);
  });
}

export function logsCommand(): Command {
  const command = new Command('logs')
    .description('show what a job has told')
    .argument('<job>', 'its id')
    .option('-f, --follow', 'go on as it comes, until the job has ended')
    .option('--json', 'as JSON lines');
  return withState(command).action(async (id: string, options: StateOptions & { readonly follow?: boolean; readonly json?: boolean }) => {
    const client = await daemonOf(options);
    await (options.follow === true ? follow(client, id, options) : show(client, id, options));
  });
}

/** A command that changes jobs, one after the other. */
function changing(name: string, description: string, said: string, change: (client: Awaited<ReturnType<typeof daemonOf>>, id: string) => Promise<unknown>): Command {
  const command = new Command(name).description(description).argument('<jobs...>', 'their ids');
  return withState(command).action(async (ids: readonly string[], options: StateOptions) => {
    const client = await daemonOf(options);
    for (const id of ids) {
      await change(client, id);
      process.stdout.write(`${id}  ${said}\n`);
    }
  });
}

export const cancelCommand = (): Command => changing('cancel', 'end jobs; what they have trained stays in their run directories', 'is cancelled, or will be after its step', (client, id) => client.act('cancel', id));
export const pauseCommand = (): Command => changing('pause', 'checkpoint jobs and give back what they take', 'is paused, or will be after its step', (client, id) => client.act('pause', id));
export const retryCommand = (): Command => changing('retry', 'try jobs that failed or were cancelled again, from their last checkpoints', 'waits', (client, id) => client.act('retry', id));
export const rmCommand = (): Command => changing('rm', 'forget jobs that have ended or are paused; run directories stay', 'is forgotten', (client, id) => client.remove(id));

function listOf(jobs: readonly DescribedJob[]): string {
  if (jobs.length === 0) return 'There are no jobs. `graft submit configs/lora.yaml` queues one; --all lists those that have ended.';
  const rows = jobs.map((job) => [job.id, job.name, job.state, String(job.attempts), stepsOf(job), job.standing?.loss === undefined ? '-' : formatLoss(job.standing.loss), remainingOf(job), job.waitsFor ?? job.reason ?? askedFor(job) ?? job.note ?? '']);
  return table(['job', 'name', 'state', 'attempts', 'steps', 'loss', 'left', ''], rows);
}

function servedOf(models: readonly ModelStanding[]): string {
  const rows = models.map(({ id, state, adapters, memoryBytes, memoryMb, pid, restarts, reason }) => [
    id,
    state,
    adapters.loaded === 0 ? '-' : `${adapters.loaded} (${formatBytes(adapters.bytes)})`,
    memoryBytes === undefined ? '-' : `${formatBytes(memoryBytes)} of ${formatBytes(memoryMb * MIB)}`,
    pid === undefined ? '-' : String(pid),
    [...(restarts === 0 ? [] : [`It was started again ${restarts === 1 ? 'once' : `${restarts} times`}.`]), ...(reason === undefined ? [] : [reason])].join(' '),
  ]);
  return table(['model', 'state', 'adapters', 'memory', 'process', ''], rows);
}

function besideEachOther({ options, runs }: Group): string {
  return comparisonTable(
    runs.map(({ job, options: own }) => ({ name: job.id, options: own, state: job.state, steps: stepsOf(job), loss: job.standing?.loss, evalLoss: job.standing?.evalLoss, tokensPerSecond: job.standing?.tokensPerSecond })),
    options,
  );
}

function askedFor({ request }: DescribedJob): string | undefined {
  return request === undefined ? undefined : { cancel: 'It ends after its step.', pause: 'It pauses after its step.', swap: 'It stops after its step, and goes on under another config.' }[request];
}

function stepsOf({ standing }: DescribedJob): string {
  if (standing === undefined) return '-';
  return standing.totalSteps === undefined ? String(standing.step) : `${standing.step}/${standing.totalSteps}`;
}

/** By the pace of the newest steps. */
function remainingOf({ state, standing }: DescribedJob): string {
  if (state !== 'running' || standing?.totalSteps === undefined || standing.secondsPerStep === undefined) return '-';
  return formatDuration((standing.totalSteps - standing.step) * standing.secondsPerStep);
}

function inFull({ job, attempts }: Awaited<ReturnType<Awaited<ReturnType<typeof daemonOf>>['get']>>): string {
  const { cpu, memory_mb, gpu_memory_mb } = job.resources;
  const lines = [
    `${pc.bold(job.name)}  ${job.id}`,
    `state      ${job.state}${job.reason === undefined ? '' : `. ${job.reason}`}`,
    ...(job.waitsFor === undefined ? [] : [`waits for  ${job.waitsFor}`]),
    ...(job.note === undefined ? [] : [`note       ${job.note}`]),
    ...(job.group === undefined ? [] : [`group      ${job.group}`]),
    `takes      ${cpu} cores, ${memory_mb} MiB of memory${gpu_memory_mb > 0 ? `, ${gpu_memory_mb} MiB of GPU memory` : ''}; priority ${job.priority}`,
    `steps      ${stepsOf(job)}${job.standing?.loss === undefined ? '' : `, loss ${formatLoss(job.standing.loss)}`}${job.standing?.evalLoss === undefined ? '' : `, evaluation loss ${formatLoss(job.standing.evalLoss)}`}`,
    ...(job.dir === undefined ? [] : [`directory  ${job.dir}`]),
    ...attempts.map(({ number, pid, startedAt, endedAt, exitCode, signal, reason, lastLines, peakBytes }) => {
      const how = endedAt === undefined ? 'runs' : [signal ?? (exitCode === undefined ? 'unknown' : `code ${exitCode}`), reason].filter(Boolean).join(', ');
      const took = endedAt === undefined ? '' : ` after ${formatDuration((endedAt - startedAt) / 1000)}`;
      return [`attempt ${number}  process ${pid}, ${how}${took}${peakBytes === undefined ? '' : `, ${formatBytes(peakBytes)} at its highest`}`, ...lastLines.map((line) => pc.dim(`           ${line}`))].join('\n');
    }),
  ];
  return lines.join('\n');
}
