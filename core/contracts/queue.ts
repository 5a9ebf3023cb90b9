/**
 * What a `queue:<name>` plugin provides: jobs that outlive the process, each done by one holder of a lease at a time.
 *
 * An attempt may begin more than once for a job, since its holder may die; what a job comes to is kept exactly once, because only the
 * lease that is current can end it.
 */
import type { Database } from './database.ts';
import type { Logger } from './plugin.ts';

/** What a job takes of the machine while it runs. `cpu` in cores, fractions allowed; memory in MiB. */
export interface Resources {
  readonly cpu: number;
  readonly memory_mb: number;
  readonly gpu_memory_mb: number;
}

/**
 * `waiting` (also for its next attempt) -> `running` -> `succeeded`, `failed` or `cancelled`; `paused` from `waiting` or `running`, and
 * back to `waiting`.
 */
export type JobState = 'waiting' | 'running' | 'paused' | 'succeeded' | 'failed' | 'cancelled';

/** What a running job was asked to do; its holder sees it at the next heartbeat. `swap`: to stop, and to go on at once with another payload. */
export type JobRequest = 'cancel' | 'pause' | 'swap';

export interface JobSpec {
  /** What is to be done, for whoever claims it. Plain JSON. */
  readonly payload: Readonly<Record<string, unknown>>;
  /** What people see. */
  readonly name: string;
  readonly resources: Resources;
  /** Higher goes first. */
  readonly priority: number;
  /** Attempts that may fail before the job has. */
  readonly max_attempts: number;
  /** Jobs that belong together, such as those of a sweep. */
  readonly group?: string;
}

/** Times are Unix milliseconds. */
export interface Job extends JobSpec {
  readonly id: string;
  readonly state: JobState;
  /** Attempts begun. */
  readonly attempts: number;
  /** Those of them that count against `max_attempts`. */
  readonly charged: number;
  /** Why it is in its state, or why its last attempt ended: a sentence. */
  readonly reason?: string;
  readonly code?: string;
  readonly request?: JobRequest;
  /** Not before then. */
  readonly dueAt: number;
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly endedAt?: number;
}

/** The right to work on a job until `expiresAt`, unless it is renewed. */
export interface JobLease {
  readonly job: Job;
  /** Another for each claim. */
  readonly token: string;
  readonly expiresAt: number;
}

/** How an attempt ended. */
export type Outcome =
  | { readonly state: 'succeeded' }
  | { readonly state: 'failed' | 'cancelled' | 'paused'; readonly reason: string; readonly code?: string }
  /** Another attempt, with another payload where one is given. `counts: false`: the attempt was not the job's fault. */
  | { readonly state: 'waiting'; readonly reason: string; readonly code?: string; readonly dueAt: number; readonly counts?: boolean; readonly payload?: JobSpec['payload'] };

export interface JobFilter {
  readonly states?: readonly JobState[];
  readonly group?: string;
  /** Jobs made before this one, newest first. */
  readonly after?: string;
  readonly limit?: number;
}

export interface Queue {
  /**
   * @param specs all or none of them
   * @param made keeps what else is to be known of the jobs, in the same transaction: all of it happens or nothing
   */
  submit(specs: readonly JobSpec[], made?: (jobs: readonly Job[]) => void): Promise<readonly Job[]>;
  get(id: string): Promise<Job | undefined>;
  /** Newest first. */
  list(filter?: JobFilter): Promise<readonly Job[]>;
  /** Jobs that may be claimed now, the oldest first. */
  due(now: number): Promise<readonly Job[]>;
  /** Undefined where somebody else was first, or the job is not waiting any more. */
  claim(id: string, options: { readonly now: number; readonly leaseMs: number; readonly holder: string }): Promise<JobLease | undefined>;
  /** Keeps the lease. Undefined where it is lost: whoever holds it must stop. */
  renew(lease: JobLease, options: { readonly now: number; readonly leaseMs: number }): Promise<JobLease | undefined>;
  /**
   * Ends an attempt.
   * @param publish makes the job's results known, in the same transaction: all of it happens or nothing
   * @returns false where the lease was lost; then nothing has happened
   */
  end(lease: JobLease, outcome: Outcome, publish?: () => void): Promise<boolean>;
  /** Takes back jobs of other holders whose leases have run out, as if their attempts had ended with `lost`; returns them as they are then. */
  expire(options: { readonly now: number; readonly holder: string; readonly lost: (job: Job) => Outcome }): Promise<readonly Job[]>;
  /** The same with every job of this holder but those that it still works on: at its start none, whatever it held before. */
  takeBack(options: { readonly now: number; readonly holder: string; readonly working: readonly string[]; readonly lost: (job: Job) => Outcome }): Promise<readonly Job[]>;
  /** A waiting or paused job is cancelled at once, a running one by its holder. Undefined: no such job, or it has ended. */
  cancel(id: string, reason: string): Promise<Job | undefined>;
  /** As `cancel`; one that its own attempt paused, with a code, is paused by whoever asks from then on. */
  pause(id: string, reason: string): Promise<Job | undefined>;
  /** A paused job waits again. */
  resume(id: string): Promise<Job | undefined>;
  /** A job that failed or was cancelled waits again, with all of its attempts. */
  retry(id: string): Promise<Job | undefined>;
  /**
   * Gives a job that has not succeeded another payload: a running one when its attempt ends, whatever else it was asked for, and any other at
   * once. Undefined: no such job, or it has succeeded or is being cancelled.
   */
  swap(id: string, payload: JobSpec['payload']): Promise<Job | undefined>;
  /**
   * Forgets a job that has ended, or is paused.
   * @param forget removes what else is kept of it, in the same transaction: all of it happens or nothing
   */
  remove(id: string, forget?: () => void): Promise<boolean>;
  /** How many jobs there are in each state. */
  count(): Promise<Readonly<Record<JobState, number>>>;
}

export interface QueueProvider {
  open(host: { readonly database: Database; readonly log: Logger }): Promise<Queue>;
}
