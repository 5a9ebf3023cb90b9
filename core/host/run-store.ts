/** What the host keeps of runs beside the queue: their directories, attempts, events, metrics and results. */
import type { Database, RunEvent, SqlRow } from '../contracts/index.ts';

const STEPS: readonly string[] = [
  `CREATE TABLE host_runs (
     job_id TEXT PRIMARY KEY,
     dir TEXT NOT NULL
   ) STRICT;
   CREATE TABLE host_attempts (
     job_id TEXT NOT NULL,
     number INTEGER NOT NULL,
     pid INTEGER NOT NULL,
     started_at INTEGER NOT NULL,
     ended_at INTEGER,
     exit_code INTEGER,
     signal TEXT,
     reason TEXT,
     last_lines TEXT,
     peak_bytes INTEGER,
     PRIMARY KEY (job_id, number)
   ) STRICT;
   CREATE TABLE host_events (
     number INTEGER PRIMARY KEY AUTOINCREMENT,
     job_id TEXT NOT NULL,
     at INTEGER NOT NULL,
     event TEXT NOT NULL
   ) STRICT;
   CREATE INDEX host_events_by_job ON host_events (job_id, number);
   CREATE TABLE host_metrics (
     job_id TEXT NOT NULL,
     step INTEGER NOT NULL,
     loss REAL,
     eval_loss REAL,
     learning_rate REAL,
     grad_norm REAL,
     tokens INTEGER,
     seconds REAL,
     total_steps INTEGER,
     PRIMARY KEY (job_id, step)
   ) STRICT;
   CREATE TABLE host_results (
     job_id TEXT PRIMARY KEY,
     dir TEXT NOT NULL,
     published_at INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE host_probe (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL) STRICT;`,
];

export interface Attempt {
  readonly number: number;
  readonly pid: number;
  readonly startedAt: number;
  readonly endedAt: number | undefined;
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly reason: string | undefined;
  readonly lastLines: readonly string[];
  readonly peakBytes: number | undefined;
}

/** The newest numbers of a run. */
export interface Standing {
  readonly step: number;
  readonly totalSteps: number | undefined;
  readonly loss: number | undefined;
  readonly evalLoss: number | undefined;
  /** Of the newest steps, together. */
  readonly secondsPerStep: number | undefined;
  readonly tokensPerSecond: number | undefined;
}

export interface StoredEvent {
  readonly number: number;
  readonly at: number;
  readonly event: RunEvent;
}

/** Steps whose pace says how long the rest will take. */
const PACE_STEPS = 20;

export class RunStore {
  readonly #db: Database;
  /** Of those who wait for something new of a job. */
  readonly #jobToWaiting = new Map<string, Set<() => void>>();

  constructor(database: Database) {
    this.#db = database;
    database.migrate('host', STEPS);
  }

  /** Of a run whose process has said where it is. */
  directory(jobId: string): string | undefined {
    return this.#db.get('SELECT dir FROM host_runs WHERE job_id = :jobId', { jobId })?.['dir'] as string | undefined;
  }

  /** Of all runs that are known. */
  directories(): readonly string[] {
    return this.#db.all('SELECT dir FROM host_runs').map((row) => row['dir'] as string);
  }

  setDirectory(jobId: string, dir: string): void {
    this.#db.run('INSERT INTO host_runs (job_id, dir) VALUES (:jobId, :dir) ON CONFLICT (job_id) DO UPDATE SET dir = excluded.dir', { jobId, dir });
  }

  beginAttempt(jobId: string, number: number, pid: number): void {
    this.#db.run('INSERT OR REPLACE INTO host_attempts (job_id, number, pid, started_at) VALUES (:jobId, :number, :pid, :now)', { jobId, number, pid, now: Date.now() });
  }

  endAttempt(jobId: string, number: number, end: { readonly exitCode?: number | null; readonly signal?: string | null; readonly reason?: string; readonly lastLines?: readonly string[]; readonly peakBytes?: number }): void {
    this.#db.run(
      `UPDATE host_attempts SET ended_at = :now, exit_code = :exitCode, signal = :signal, reason = :reason, last_lines = :lastLines, peak_bytes = :peakBytes
       WHERE job_id = :jobId AND number = :number`,
      { jobId, number, now: Date.now(), exitCode: end.exitCode, signal: end.signal, reason: end.reason, lastLines: JSON.stringify(end.lastLines ?? []), peakBytes: end.peakBytes },
    );
    this.#wake(jobId);
  }

  attempts(jobId: string): readonly Attempt[] {
    return this.#db.all('SELECT * FROM host_attempts WHERE job_id = :jobId ORDER BY number', { jobId }).map(attemptOf);
  }

  /** Everything but progress is kept as it was told, and the numbers of steps and evaluations once more by step. @returns how many were kept */
  record(jobId: string, told: readonly { readonly at: number; readonly event: RunEvent }[]): number {
    const lasting = told.filter(({ event }) => event.type !== 'progress');
    this.#db.transaction(() => {
      for (const { at, event } of lasting) {
        this.#db.run('INSERT INTO host_events (job_id, at, event) VALUES (:jobId, :at, :event)', { jobId, at, event: JSON.stringify(event) });
      }
      this.recordNumbers(jobId, lasting.map(({ event }) => event));
    });
    this.#wake(jobId);
    return lasting.length;
  }

  /** Resolves when a job tells something or an attempt at it ends, or after some milliseconds: thousands may wait at once, and cost nothing while nothing happens. */
  async changed(jobId: string, ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const waiting = this.#jobToWaiting.get(jobId) ?? new Set();
      const done = (): void => {
        clearTimeout(timer);
        waiting.delete(done);
        if (waiting.size === 0) this.#jobToWaiting.delete(jobId);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#jobToWaiting.set(jobId, waiting.add(done));
    });
  }

  /** Events after a number, oldest first. */
  events(jobId: string, after: number, limit: number): readonly StoredEvent[] {
    return this.#db
      .all('SELECT * FROM host_events WHERE job_id = :jobId AND number > :after ORDER BY number LIMIT :limit', { jobId, after, limit })
      .map((row) => ({ number: row['number'] as number, at: row['at'] as number, event: JSON.parse(row['event'] as string) as RunEvent }));
  }

  /** Events of some types before a number, newest first. */
  eventsBefore(jobId: string, { before = Number.MAX_SAFE_INTEGER, limit, types }: { readonly before?: number; readonly limit: number; readonly types: readonly string[] }): readonly StoredEvent[] {
    const wanted = `SELECT * FROM host_events WHERE job_id = :jobId AND number < :before AND json_extract(event, '$.type') IN (SELECT value FROM json_each(:types)) ORDER BY number DESC LIMIT :limit`;
    return this.#db
      .all(wanted, { jobId, before, limit, types: JSON.stringify(types) })
      .map((row) => ({ number: row['number'] as number, at: row['at'] as number, event: JSON.parse(row['event'] as string) as RunEvent }));
  }

  /** Loss of each step done, by step. */
  numbers(jobId: string): ReadonlyMap<number, { readonly loss: number }> {
    return new Map(this.#db.all('SELECT step, loss FROM host_metrics WHERE job_id = :jobId AND loss IS NOT NULL', { jobId }).map((row) => [row['step'] as number, { loss: row['loss'] as number }]));
  }

  /** Tokens of all steps done. */
  tokens(jobId: string): number {
    return Number(this.#db.get('SELECT coalesce(sum(tokens), 0) AS tokens FROM host_metrics WHERE job_id = :jobId', { jobId })!['tokens']);
  }

  standing(jobId: string): Standing | undefined {
    const rows = this.#db.all('SELECT * FROM host_metrics WHERE job_id = :jobId AND loss IS NOT NULL ORDER BY step DESC LIMIT :limit', { jobId, limit: PACE_STEPS });
    const [newest] = rows;
    if (newest === undefined) return undefined;
    const evaluation = this.#db.get('SELECT eval_loss FROM host_metrics WHERE job_id = :jobId AND eval_loss IS NOT NULL ORDER BY step DESC LIMIT 1', { jobId });
    const sum = (column: 'seconds' | 'tokens'): number => rows.reduce((total, row) => total + (row[column] as number), 0);
    return {
      step: newest['step'] as number,
      totalSteps: optional(newest['total_steps']) as number | undefined,
      loss: newest['loss'] as number,
      evalLoss: optional(evaluation?.['eval_loss']) as number | undefined,
      secondsPerStep: sum('seconds') / rows.length,
      tokensPerSecond: sum('seconds') === 0 ? undefined : sum('tokens') / sum('seconds'),
    };
  }

  /** Puts numbers of steps and evaluations where they belong, those that are there already included. */
  recordNumbers(jobId: string, events: readonly RunEvent[]): void {
    this.#db.transaction(() => {
      for (const event of events) {
        if (event.type === 'step') this.#recordStep(jobId, event);
        else if (event.type === 'evaluation') this.#recordEvaluation(jobId, event.step, event.loss);
      }
    });
  }

  /** Of each step done, in order. */
  losses(jobId: string): readonly number[] {
    return this.#db.all('SELECT loss FROM host_metrics WHERE job_id = :jobId AND loss IS NOT NULL ORDER BY step', { jobId }).map((row) => row['loss'] as number);
  }

  /** Makes a run's results known, once. To be called in the transaction that ends its job. */
  publish(jobId: string): void {
    const published = this.#db.run('INSERT INTO host_results (job_id, dir, published_at) SELECT job_id, dir, :now FROM host_runs WHERE job_id = :jobId', { jobId, now: Date.now() });
    if (published !== 1) throw new Error(`the run of ${jobId} has no directory`);
  }

  published(): readonly { readonly jobId: string; readonly dir: string }[] {
    return this.#db.all('SELECT * FROM host_results ORDER BY published_at').map((row) => ({ jobId: row['job_id'] as string, dir: row['dir'] as string }));
  }

  /** Writes: throws where nothing can be written. */
  probe(): void {
    this.#db.run('INSERT OR REPLACE INTO host_probe (id, at) VALUES (1, :now)', { now: Date.now() });
  }

  /** Forgets a run; its directory stays. */
  remove(jobId: string): void {
    this.#db.transaction(() => {
      for (const table of ['host_runs', 'host_attempts', 'host_events', 'host_metrics', 'host_results']) this.#db.run(`DELETE FROM ${table} WHERE job_id = :jobId`, { jobId });
    });
  }

  #wake(jobId: string): void {
    for (const done of [...(this.#jobToWaiting.get(jobId) ?? [])]) done();
  }

  /** Jobs of which there are events or metrics and whose last attempt ended, or began, before a time. */
  lastActiveBefore(time: number): readonly string[] {
    return this.#db
      .all(
        `SELECT job_id FROM host_attempts AS attempts GROUP BY job_id HAVING max(coalesce(ended_at, started_at)) < :time
           AND (EXISTS (SELECT 1 FROM host_events WHERE job_id = attempts.job_id) OR EXISTS (SELECT 1 FROM host_metrics WHERE job_id = attempts.job_id))`,
        { time },
      )
      .map((row) => row['job_id'] as string);
  }

  /** Removes at most so many of a job's events, and its metrics when there are no more events. @returns rows removed */
  forgetSome(jobId: string, limit: number): number {
    const events = this.#db.run('DELETE FROM host_events WHERE number IN (SELECT number FROM host_events WHERE job_id = :jobId ORDER BY number LIMIT :limit)', { jobId, limit });
    if (events > 0) return events === limit ? limit : events + this.forgetSome(jobId, limit - events);
    return this.#db.run('DELETE FROM host_metrics WHERE job_id = :jobId AND step IN (SELECT step FROM host_metrics WHERE job_id = :jobId ORDER BY step LIMIT :limit)', { jobId, limit });
  }

  /** A step that is done again after going back to a checkpoint takes the place of what it was. */
  #recordStep(jobId: string, event: Extract<RunEvent, { readonly type: 'step' }>): void {
    const { step, loss, learningRate, gradNorm, tokens, seconds, totalSteps } = event;
    this.#db.run(
      `INSERT INTO host_metrics (job_id, step, loss, learning_rate, grad_norm, tokens, seconds, total_steps)
       VALUES (:jobId, :step, :loss, :learningRate, :gradNorm, :tokens, :seconds, :totalSteps)
       ON CONFLICT (job_id, step) DO UPDATE SET loss = excluded.loss, learning_rate = excluded.learning_rate, grad_norm = excluded.grad_norm,
         tokens = excluded.tokens, seconds = excluded.seconds, total_steps = excluded.total_steps`,
      { jobId, step, loss, learningRate, gradNorm, tokens, seconds, totalSteps },
    );
  }

  #recordEvaluation(jobId: string, step: number, loss: number): void {
    this.#db.run('INSERT INTO host_metrics (job_id, step, eval_loss) VALUES (:jobId, :step, :loss) ON CONFLICT (job_id, step) DO UPDATE SET eval_loss = excluded.eval_loss', { jobId, step, loss });
  }
}

function attemptOf(row: SqlRow): Attempt {
  return {
    number: row['number'] as number,
    pid: row['pid'] as number,
    startedAt: row['started_at'] as number,
    endedAt: optional(row['ended_at']) as number | undefined,
    exitCode: optional(row['exit_code']) as number | undefined,
    signal: optional(row['signal']) as string | undefined,
    reason: optional(row['reason']) as string | undefined,
    lastLines: JSON.parse((row['last_lines'] as string | null) ?? '[]') as readonly string[],
    peakBytes: optional(row['peak_bytes']) as number | undefined,
  };
}

function optional<T>(value: T | null | undefined): T | undefined {
  return value ?? undefined;
}
