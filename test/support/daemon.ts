/** A daemon in this process, on a state folder of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job, JobState, Logger } from '../../core/contracts/index.ts';
import { checkOptions } from '../../core/config/options.ts';
import { daemonSchema, type DaemonConfig } from '../../core/host/daemon-config.ts';
import { Daemon } from '../../core/host/daemon.ts';
import { stderrLogger } from '../../core/host/stderr-log.ts';

export interface TestDaemon {
  readonly dir: string;
  readonly daemon: () => Daemon;
  /** Ends it, and starts another one on the same state. */
  restart(): Promise<void>;
  /** Waits until a job is in one of the states; fails when it ends in another. */
  until(id: string, ...states: readonly JobState[]): Promise<Job>;
  /** Waits until a job is in a state, whatever it is in before. */
  untilAtLast(id: string, state: JobState): Promise<void>;
  /** Waits until a job has done so many steps. */
  untilStep(id: string, step: number): Promise<void>;
  /** The process that runs a job now. */
  pid(id: string): number;
  losses(id: string): readonly number[];
  close(): Promise<void>;
}

const LOOK_MS = 50;
const ENDED: readonly JobState[] = ['succeeded', 'failed', 'cancelled', 'paused'];

/** @param log default: errors to standard error */
export async function startDaemon(options: Readonly<Record<string, unknown>> = {}, log: Logger = stderrLogger('error')): Promise<TestDaemon> {
  const dir = mkdtempSync(join(tmpdir(), 'graft-daemon-'));
  const config = checkOptions(daemonSchema, { state_dir: join(dir, 'state'), port: 0, job: { memory_mb: 2000 }, capacity: { cpu: 2, memory_mb: 4000 }, retry_seconds: 0.1, ...options }, 'a daemon config') as DaemonConfig;
  let daemon = await Daemon.start(config, log);
  return {
    dir,
    daemon: () => daemon,
    restart: async () => {
      await daemon.stop();
      daemon = await Daemon.start(config, log);
    },
    until: async (id, ...states) => {
      for (;;) {
        const job = (await daemon.queue.get(id))!;
        if (states.includes(job.state)) return job;
        if (ENDED.includes(job.state)) throw new Error(`${id} is ${job.state}, not ${states.join(' or ')}: ${job.reason}`);
        await sleep(LOOK_MS);
      }
    },
    untilAtLast: async (id, state) => {
      while ((await daemon.queue.get(id))!.state !== state) await sleep(LOOK_MS);
    },
    untilStep: async (id, step) => {
      while ((daemon.runs.standing(id)?.step ?? 0) < step) {
        const job = (await daemon.queue.get(id))!;
        if (ENDED.includes(job.state)) throw new Error(`${id} is ${job.state} before step ${step}: ${job.reason}`);
        await sleep(LOOK_MS);
      }
    },
    pid: (id) => daemon.runs.attempts(id).at(-1)!.pid,
    losses: (id) => daemon.runs.losses(id),
    close: async () => {
      await daemon.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
