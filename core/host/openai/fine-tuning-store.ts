/** What was asked for with each fine-tuning job, beside the job itself in the queue. */
import type { Database, SqlRow } from '../../contracts/index.ts';

const STEPS: readonly string[] = [
  `CREATE TABLE host_fine_tuning (
     job_id TEXT PRIMARY KEY,
     request TEXT NOT NULL,
     name TEXT NOT NULL,
     idempotency_key TEXT,
     body_hash TEXT NOT NULL,
     created_at INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX host_fine_tuning_by_body ON host_fine_tuning (body_hash);
   CREATE UNIQUE INDEX host_fine_tuning_by_key ON host_fine_tuning (idempotency_key) WHERE idempotency_key IS NOT NULL;`,
];

/** The request, as its answer repeats it. */
export interface FineTuningRequest {
  readonly model: string;
  readonly training_file: string;
  readonly validation_file: string | null;
  readonly suffix: string | null;
  readonly seed: number;
  readonly method: unknown;
  readonly hyperparameters: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, string>> | null;
}

export interface FineTuningRecord {
  readonly jobId: string;
  readonly request: FineTuningRequest;
  /** The name that its result will have. */
  readonly name: string;
  readonly idempotencyKey: string | undefined;
  readonly bodyHash: string;
  readonly createdAt: number;
}

export class FineTuningStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
    database.migrate('host-fine-tuning', STEPS);
  }

  add({ jobId, request, name, idempotencyKey, bodyHash, createdAt }: FineTuningRecord): void {
    this.#database.run('INSERT INTO host_fine_tuning (job_id, request, name, idempotency_key, body_hash, created_at) VALUES (:jobId, :request, :name, :key, :bodyHash, :createdAt)', {
      jobId,
      request: JSON.stringify(request),
      name,
      key: idempotencyKey ?? null,
      bodyHash,
      createdAt,
    });
  }

  get(jobId: string): FineTuningRecord | undefined {
    return recordOf(this.#database.get('SELECT * FROM host_fine_tuning WHERE job_id = :jobId', { jobId }));
  }

  byKey(key: string): FineTuningRecord | undefined {
    return recordOf(this.#database.get('SELECT * FROM host_fine_tuning WHERE idempotency_key = :key', { key }));
  }

  byBody(bodyHash: string, since: number): FineTuningRecord | undefined {
    return recordOf(this.#database.get('SELECT * FROM host_fine_tuning WHERE body_hash = :bodyHash AND created_at >= :since ORDER BY created_at DESC LIMIT 1', { bodyHash, since }));
  }

  /** Those that are trained or evaluated on an uploaded file. */
  using(file: string): readonly FineTuningRecord[] {
    const sql = `SELECT * FROM host_fine_tuning WHERE json_extract(request, '$.training_file') = :file OR json_extract(request, '$.validation_file') = :file`;
    return this.#database.all(sql, { file }).map((row) => recordOf(row)!);
  }

  remove(jobId: string): void {
    this.#database.run('DELETE FROM host_fine_tuning WHERE job_id = :jobId', { jobId });
  }

  /** The newest first. */
  list(): readonly FineTuningRecord[] {
    return this.#database.all('SELECT * FROM host_fine_tuning ORDER BY created_at DESC, job_id DESC').map((row) => recordOf(row)!);
  }
}

function recordOf(row: SqlRow | undefined): FineTuningRecord | undefined {
  if (row === undefined) return undefined;
  return {
    jobId: String(row['job_id']),
    request: JSON.parse(String(row['request'])) as FineTuningRequest,
    name: String(row['name']),
    idempotencyKey: row['idempotency_key'] === null ? undefined : String(row['idempotency_key']),
    bodyHash: String(row['body_hash']),
    createdAt: Number(row['created_at']),
  };
}
