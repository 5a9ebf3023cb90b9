import { randomUUID } from 'node:crypto';
import type { Database, Job, JobFilter, JobLease, JobSpec, JobState, Outcome, Queue, SqlParameters } from 'graft';
import { jobOf } from './rows.ts';
import { STEPS } from './tables.ts';

const ENDED = "('succeeded', 'failed', 'cancelled')";
const DEFAULT_LIMIT = 100;
/** Characters of a job's id a UUID's. */
const ID_LENGTH = 12;

/**
 * Jobs in the host's own database. Each change is one transaction, so that a host that is killed at any moment finds either all of it
 * or nothing; a lease's token fences out whoever held the job before.
 */
export class SqliteQueue implements Queue {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
    database.migrate('queue-sqlite', STEPS);
  }

  async submit(specs: readonly JobSpec[], made?: (jobs: readonly Job[]) => void): Promise<readonly Job[]> {
    return this.#db.transaction(() => {
      const jobs = specs.map((spec) => this.#insert(spec));
      made?.(jobs);
      return jobs;
    });
  }

  async get(id: string): Promise<Job | undefined> {
    return this.#get(id);
  }

  async list({ states, group, after, limit = DEFAULT_LIMIT }: JobFilter = {}): Promise<readonly Job[]> {
    const rows = this.#db.all(
      `SELECT * FROM queue_jobs
       WHERE (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
         AND (:group IS NULL OR job_group = :group)
         AND (:after IS NULL OR number < (SELECT number FROM queue_jobs WHERE id = :after))
       ORDER BY number DESC LIMIT :limit`,
      { states: states === undefined ? null : JSON.stringify(states), group: group ?? null, after: after ?? null, limit },
    );
    return rows.map(jobOf);
  }

  async due(now: number): Promise<readonly Job[]> {
    return this.#db.all("SELECT * FROM queue_jobs WHERE state = 'waiting' AND due_at <= :now ORDER BY number", { now }).map(jobOf);
  }

  async claim(id: string, { now, leaseMs, holder }: { readonly now: number; readonly leaseMs: number; readonly holder: string }): Promise<JobLease | undefined> {
    const token = randomUUID();
    const expiresAt = now + leaseMs;
    const claimed = this.#db.run(
      `UPDATE queue_jobs SET state = 'running', attempts = attempts + 1, reason = NULL, code = NULL, request = NULL, request_reason = NULL,
         started_at = :now, ended_at = NULL, lease_token = :token, lease_holder = :holder, lease_expires_at = :expiresAt
       WHERE id = :id AND state = 'waiting' AND due_at <= :now`,
      { id, now, token, holder, expiresAt },
    );
    return claimed === 0 ? undefined : { job: this.#get(id)!, token, expiresAt };
  }

  async renew({ job, token }: JobLease, { now, leaseMs }: { readonly now: number; readonly leaseMs: number }): Promise<JobLease | undefined> {
    const expiresAt = now + leaseMs;
    const renewed = this.#db.run('UPDATE queue_jobs SET lease_expires_at = :expiresAt WHERE id = :id AND lease_token = :token', { id: job.id, token, expiresAt });
    return renewed === 0 ? undefined : { job: this.#get(job.id)!, token, expiresAt };
  }

  async end({ job, token }: JobLease, outcome: Outcome, publish?: () => void): Promise<boolean> {
    return this.#db.transaction(() => {
      if (!this.#settle(job.id, token, outcome, Date.now())) return false;
      publish?.();
      return true;
    });
  }

  async expire({ now, holder, lost }: { readonly now: number; readonly holder: string; readonly lost: (job: Job) => Outcome }): Promise<readonly Job[]> {
    return this.#lose("state = 'running' AND lease_holder <> :holder AND lease_expires_at < :now", { now, holder }, now, lost);
  }

  async takeBack({ now, holder, working, lost }: { readonly now: number; readonly holder: string; readonly working: readonly string[]; readonly lost: (job: Job) => Outcome }): Promise<readonly Job[]> {
    return this.#lose("state = 'running' AND lease_holder = :holder AND id NOT IN (SELECT value FROM json_each(:working))", { holder, working: JSON.stringify(working) }, now, lost);
  }

  async cancel(id: string, reason: string): Promise<Job | undefined> {
    return this.#ask(id, { asked: 'cancel', becomes: 'cancelled', from: "state IN ('waiting', 'paused')", reason });
  }

  async pause(id: string, reason: string): Promise<Job | undefined> {
    return this.#ask(id, { asked: 'pause', becomes: 'paused', from: "(state = 'waiting' OR (state = 'paused' AND code IS NOT NULL))", reason });
  }

  async resume(id: string): Promise<Job | undefined> {
    return this.#change(id, "UPDATE queue_jobs SET state = 'waiting', reason = NULL, code = NULL, due_at = :now WHERE id = :id AND state = 'paused'", { now: Date.now() });
  }

  async retry(id: string): Promise<Job | undefined> {
    return this.#change(
      id,
      "UPDATE queue_jobs SET state = 'waiting', reason = NULL, code = NULL, forgiven = attempts, due_at = :now, ended_at = NULL WHERE id = :id AND state IN ('failed', 'cancelled')",
      { now: Date.now() },
    );
  }

  async remove(id: string, forget?: () => void): Promise<boolean> {
    return this.#db.transaction(() => {
      if (this.#db.run(`DELETE FROM queue_jobs WHERE id = :id AND (state = 'paused' OR state IN ${ENDED})`, { id }) === 0) return false;
      forget?.();
      return true;
    });
  }

  async count(): Promise<Readonly<Record<JobState, number>>> {
    const counted = this.#db.all('SELECT state, count(*) AS jobs FROM queue_jobs GROUP BY state').map((row): [string, number] => [row['state'] as string, row['jobs'] as number]);
    return { waiting: 0, running: 0, paused: 0, succeeded: 0, failed: 0, cancelled: 0, ...Object.fromEntries(counted) };
  }

  async swap(id: string, payload: JobSpec['payload']): Promise<Job | undefined> {
    return this.#change(
      id,
      `UPDATE queue_jobs SET payload = CASE WHEN state = 'running' THEN payload ELSE :payload END, swap_payload = CASE WHEN state = 'running' THEN :payload END
       WHERE id = :id AND state <> 'succeeded' AND request IS NOT 'cancel'`,
      { payload: JSON.stringify(payload) },
    );
  }

  #get(id: string): Job | undefined {
    const row = this.#db.get('SELECT * FROM queue_jobs WHERE id = :id', { id });
    return row === undefined ? undefined : jobOf(row);
  }

  #insert({ payload, name, resources, priority, max_attempts, group }: JobSpec): Job {
    const id = `job-${randomUUID().slice(-ID_LENGTH)}`;
    const now = Date.now();
    this.#db.run(
      `INSERT INTO queue_jobs (id, name, job_group, payload, cpu, memory_mb, gpu_memory_mb, priority, max_attempts, state, due_at, created_at)
       VALUES (:id, :name, :group, :payload, :cpu, :memory_mb, :gpu_memory_mb, :priority, :max_attempts, 'waiting', :now, :now)`,
      { id, name, group: group ?? null, payload: JSON.stringify(payload), ...resources, priority, max_attempts, now },
    );
    return this.#get(id)!;
  }

  #lose(which: string, parameters: SqlParameters, now: number, lost: (job: Job) => Outcome): readonly Job[] {
    return this.#db.transaction(() =>
      this.#db.all(`SELECT * FROM queue_jobs WHERE ${which}`, parameters).map((row) => {
        this.#settle(row['id'] as string, row['lease_token'] as string, lost(jobOf(row)), now);
        return this.#get(row['id'] as string)!;
      }),
    );
  }

  /** Ends the attempt that has this lease; a failed one of a job that may not try again ends the job. */
  #settle(id: string, token: string, outcome: Outcome, now: number): boolean {
    const again = outcome.state === 'waiting';
    const values = {
      ...{ id, token, state: outcome.state, now },
      reason: outcome.state === 'succeeded' ? null : outcome.reason,
      code: (outcome.state === 'succeeded' ? undefined : outcome.code) ?? null,
      forgiven: (again && outcome.counts === false) || outcome.state === 'paused' ? 1 : 0,
      dueAt: again ? outcome.dueAt : now,
      payload: again && outcome.payload !== undefined ? JSON.stringify(outcome.payload) : null,
    };
    return (
      this.#db.run(
        `UPDATE queue_jobs SET
           state = CASE WHEN :state IN ('waiting', 'paused') AND request = 'cancel' THEN 'cancelled'
                        WHEN :state = 'waiting' AND request = 'pause' THEN 'paused'
                        WHEN :state = 'waiting' AND attempts - forgiven - :forgiven >= max_attempts THEN 'failed'
                        ELSE :state END,
           reason = CASE WHEN :state = 'waiting' AND request IS NOT NULL THEN request_reason ELSE :reason END,
           code = CASE WHEN :state = 'paused' AND request = 'pause' THEN NULL ELSE :code END, forgiven = forgiven + :forgiven, due_at = :dueAt, payload = coalesce(swap_payload, :payload, payload), swap_payload = NULL,
           request = NULL, request_reason = NULL, lease_token = NULL, lease_holder = NULL, lease_expires_at = NULL, ended_at = :now
         WHERE id = :id AND lease_token = :token`,
        values,
      ) > 0
    );
  }

  /** Does at once what can be, and asks the holder of a running job for it. */
  #ask(id: string, { asked, becomes, from, reason }: { readonly asked: 'cancel' | 'pause'; readonly becomes: string; readonly from: string; readonly reason: string }): Job | undefined {
    return this.#db.transaction(() => {
      const now = Date.now();
      const changed =
        this.#db.run(`UPDATE queue_jobs SET state = :becomes, reason = :reason, code = NULL, ended_at = :now WHERE id = :id AND ${from}`, { id, becomes, reason, now }) +
        // A cancellation outranks a pause.
        this.#db.run("UPDATE queue_jobs SET request = :asked, request_reason = :reason WHERE id = :id AND state = 'running' AND (request IS NULL OR :asked = 'cancel')", { id, asked, reason });
      return changed === 0 ? undefined : this.#get(id);
    });
  }

  #change(id: string, sql: string, parameters: SqlParameters): Job | undefined {
    return this.#db.transaction(() => (this.#db.run(sql, { id, ...parameters }) === 0 ? undefined : this.#get(id)));
  }
}
