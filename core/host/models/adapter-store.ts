/** The adapters that can be served by name: what runs made, and what was loaded by hand. */
import type { Database, SqlRow } from '../../contracts/index.ts';

const STEPS: readonly string[] = [
  `CREATE TABLE host_adapters (
     name TEXT PRIMARY KEY,
     base TEXT NOT NULL,
     dir TEXT NOT NULL,
     job_id TEXT,
     created_at INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX host_adapters_by_job ON host_adapters (job_id);`,
];

export interface AdapterRecord {
  /** What a request's `model` says, such as `ft:story:acme:tales:job-1`. */
  readonly name: string;
  /** The id of the base model that it stands on. */
  readonly base: string;
  /** Absolute folder: one method's adapter, or a run's with a folder for each graft. */
  readonly dir: string;
  /** The job that made it; undefined for one that was loaded by hand. */
  readonly job: string | undefined;
  /** Unix milliseconds. */
  readonly createdAt: number;
}

export class AdapterStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
    database.migrate('host-adapters', STEPS);
  }

  /** In the order of their making. */
  list(): readonly AdapterRecord[] {
    return this.#database.all('SELECT * FROM host_adapters ORDER BY created_at, name').map(recordOf);
  }

  get(name: string): AdapterRecord | undefined {
    const row = this.#database.get('SELECT * FROM host_adapters WHERE name = :name', { name });
    return row === undefined ? undefined : recordOf(row);
  }

  ofJob(job: string): AdapterRecord | undefined {
    const row = this.#database.get('SELECT * FROM host_adapters WHERE job_id = :job', { job });
    return row === undefined ? undefined : recordOf(row);
  }

  /** Adds an adapter, or another one in its place under the same name. May be part of a transaction. */
  put({ name, base, dir, job, createdAt }: AdapterRecord): void {
    this.#database.run('INSERT OR REPLACE INTO host_adapters (name, base, dir, job_id, created_at) VALUES (:name, :base, :dir, :job, :createdAt)', { name, base, dir, job: job ?? null, createdAt });
  }

  /** Forgets an adapter; its files stay. @returns false where there is none of this name */
  remove(name: string): boolean {
    return this.#database.run('DELETE FROM host_adapters WHERE name = :name', { name }) > 0;
  }
}

function recordOf({ name, base, dir, job_id, created_at }: SqlRow): AdapterRecord {
  return { name: String(name), base: String(base), dir: String(dir), job: job_id === null ? undefined : String(job_id), createdAt: Number(created_at) };
}
