/**
 * Jobs in a daemon whose processes, and which itself, are killed while they work, whichever runs.
 *
 * As a command: `node --import tsx test/host/chaos.ts [JOBS] [SEED]`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { DaemonClient } from '../../core/host/client.ts';
import type { DescribedJob } from '../../core/host/described-job.ts';
import { RunStore } from '../../core/host/run-store.ts';
import { SqliteDatabase } from '../../core/host/sqlite.ts';
import { rng } from '../../core/tensor/rng.ts';
import { startGraft, type RunningCommand } from '../support/command.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

export interface ChaosOptions {
  readonly jobs: number;
  readonly seed: number;
  /** Steps that all jobs together go on between two kills: some work is always done. */
  readonly everySteps: number;
  /** Of how many kills one hits the host, beginning with the second. */
  readonly hostEvery: number;
  readonly tell?: (text: string) => void;
}

export interface ChaosReport {
  readonly states: readonly string[];
  /** Per job, the losses of its steps; of an undisturbed one first. */
  readonly losses: readonly (readonly number[])[];
  /** Results per job. */
  readonly published: readonly number[];
  /** The most cores and mebibytes that were taken at once, of `CAPACITY`. */
  readonly mostCpu: number;
  readonly mostMemory: number;
  readonly childKills: number;
  readonly hostKills: number;
  readonly attempts: number;
}

export const CAPACITY = { cpu: 3, memory_mb: 3200, gpu_memory_mb: 0 };
/** By turns: two of the first kind fill the cores' share, two of the second the memory's; one of each fits. */
const RESOURCES = [{ cpu: 2, memory_mb: 1000 }, { cpu: 1, memory_mb: 1700 }];
const LOOK_MS = 150;
/** Of each job. */
const STEPS = 40;

export async function chaos({ jobs, seed, everySteps, hostEvery, tell = () => undefined }: ChaosOptions): Promise<ChaosReport> {
  const random = rng(seed, 'chaos', 0);
  const home = mkdtempSync(join(tmpdir(), 'graft-chaos-'));
  const state = join(home, 'state');
  const run = join(home, 'run');
  mkdirSync(run);
  const config = writeTinyRun(run, { train: { epochs: undefined, max_steps: STEPS, save_steps: 4, eval_steps: 20 } });
  const daemonFile = join(home, 'daemon.yaml');
  writeFileSync(daemonFile, stringify({ state_dir: './state', port: 0, capacity: CAPACITY, job: { ...RESOURCES[0], max_attempts: 1000 }, retry_seconds: 0.05 }));
  let daemon: RunningCommand = await start(daemonFile);
  let [mostCpu, mostMemory, childKills, hostKills] = [0, 0, 0, 0];
  try {
    const client = (): DaemonClient => DaemonClient.find(state);
    const [first] = await client().submit({ config });
    await until(client, (all) => all.every((job) => job.state === 'succeeded'));
    for (let i = 1; i < jobs; i++) await client().submit({ config, priority: i % 3, resources: RESOURCES[i % 2]! });
    let next = STEPS + everySteps;
    await until(client, async (all) => {
      const running = all.filter((job) => job.state === 'running');
      mostCpu = Math.max(mostCpu, running.reduce((sum, job) => sum + job.resources.cpu, 0));
      mostMemory = Math.max(mostMemory, running.reduce((sum, job) => sum + job.resources.memory_mb, 0));
      const steps = all.reduce((sum, job) => sum + (job.standing?.step ?? 0), 0);
      if (steps < next) return all.every((job) => job.state === 'succeeded');
      next = steps + everySteps;
      if ((childKills + hostKills) % hostEvery === 1) {
        daemon.process.kill('SIGKILL');
        await daemon.ended;
        hostKills++;
        daemon = await start(daemonFile);
      } else if (running.length > 0) {
        const { attempts } = await client().get(running[random.integer(running.length)]!.id);
        const newest = attempts.at(-1);
        if (newest?.endedAt === undefined && newest !== undefined && killed(newest.pid)) childKills++;
      }
      tell(`${all.filter((job) => job.state === 'succeeded').length} of ${all.length} jobs; ${childKills} runs and ${hostKills} hosts killed`);
      return false;
    });
    const all = (await client().list({ limit: 1000 })).toReversed();
    daemon.process.kill('SIGTERM');
    await daemon.ended;
    const database = new SqliteDatabase(join(state, 'graft.db'));
    const store = new RunStore(database);
    const published = store.published();
    const report = {
      states: all.map((job) => job.state),
      losses: [store.losses(first!.id), ...all.filter((job) => job.id !== first!.id).map((job) => store.losses(job.id))],
      published: all.map((job) => published.filter(({ jobId }) => jobId === job.id).length),
      ...{ mostCpu, mostMemory, childKills, hostKills, attempts: all.reduce((sum, job) => sum + job.attempts, 0) },
    };
    database.close();
    return report;
  } finally {
    if (daemon.process.exitCode === null) daemon.process.kill('SIGKILL');
    await daemon.ended;
    rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

async function start(config: string): Promise<RunningCommand> {
  const daemon = startGraft(['daemon', '--config', config]);
  await daemon.seen(/The daemon listens on/);
  return daemon;
}

/** Looks at all jobs again and again; none of them may fail. */
async function until(client: () => DaemonClient, done: (all: readonly DescribedJob[]) => boolean | Promise<boolean>): Promise<void> {
  for (;;) {
    const all = await client().list({ limit: 1000 });
    const failed = all.find((job) => job.state === 'failed');
    if (failed !== undefined) throw new Error(`${failed.id} has failed: ${failed.reason}`);
    if (await done(all)) return;
    await sleep(LOOK_MS);
  }
}

/** It may just have ended by itself. */
function killed(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [jobs = 40, seed = Date.now() % 100_000] = process.argv.slice(2).map(Number);
  process.stdout.write(`${jobs} jobs, seed ${seed}\n`);
  const began = Date.now();
  const report = await chaos({ jobs, seed, everySteps: 30, hostEvery: 6, tell: (text) => process.stdout.write(`${text}\n`) });
  const same = report.losses.filter((losses) => JSON.stringify(losses) === JSON.stringify(report.losses[0])).length;
  process.stdout.write(`${report.states.filter((state) => state === 'succeeded').length} of ${jobs} succeeded, ${report.published.filter((n) => n === 1).length} published once, ${same} with the losses of the undisturbed one; `);
  process.stdout.write(`${report.childKills} runs and ${report.hostKills} hosts killed, ${report.attempts} attempts, ${report.mostCpu} of ${CAPACITY.cpu} cores and ${report.mostMemory} of ${CAPACITY.memory_mb} MiB taken at most, ${((Date.now() - began) / 1000).toFixed(0)} s\n`);
}
