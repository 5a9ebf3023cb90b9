/** The one file that knows which SQLite it is: @photostructure/sqlite, node:sqlite's API with binaries for every platform in its package. */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { backup, DatabaseSync, type StatementSyncInstance } from '@photostructure/sqlite';
import type { Database, SqlParameters, SqlRow } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';

/** SQLite's own result codes: https://www.sqlite.org/rescode.html */
const SQLITE = { FULL: 13, CORRUPT: 11, NOTADB: 26, IOERR: 10 } as const;
/** Milliseconds that a reader of the file, such as a backup, may hold a write up. */
const BUSY_MS = 5000;

/** A database file that stays open. One process writes it; see `core/host/state.ts` for the lock. */
export class SqliteDatabase implements Database {
  readonly #file: string;
  readonly #db: InstanceType<typeof DatabaseSync>;
  readonly #sqlToStatement = new Map<string, StatementSyncInstance>();
  #depth = 0;

  /**
   * Opens or makes it, in WAL mode with every commit synced to disk.
   * @throws GraftError `DATABASE_CORRUPT`, `DATABASE_UNREADABLE`
   */
  constructor(file: string) {
    this.#file = file;
    try {
      this.#db = new DatabaseSync(file, { timeout: BUSY_MS });
      this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;');
      this.#db.exec('CREATE TABLE IF NOT EXISTS migrations (owner TEXT NOT NULL, step INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (owner, step)) STRICT');
      const check = this.get('PRAGMA quick_check(1)')?.['quick_check'];
      if (check !== 'ok') throw new GraftError('DATABASE_CORRUPT', `The database ${file} is damaged: ${String(check)}.`);
    } catch (error) {
      throw this.#told(error);
    }
  }

  all(sql: string, parameters: SqlParameters = {}): readonly SqlRow[] {
    return this.#try(() => this.#prepared(sql).all(bound(parameters)) as readonly SqlRow[]);
  }

  get(sql: string, parameters: SqlParameters = {}): SqlRow | undefined {
    return this.#try(() => this.#prepared(sql).get(bound(parameters)) as SqlRow | undefined);
  }

  run(sql: string, parameters: SqlParameters = {}): number {
    return this.#try(() => Number(this.#prepared(sql).run(bound(parameters)).changes));
  }

  transaction<T>(act: () => T): T {
    if (this.#depth > 0) return act();
    this.#try(() => this.#db.exec('BEGIN IMMEDIATE'));
    this.#depth++;
    try {
      const result = act();
      this.#try(() => this.#db.exec('COMMIT'));
      return result;
    } catch (error) {
      // A full disk may have ended the transaction already.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    } finally {
      this.#depth--;
    }
  }

  migrate(owner: string, steps: readonly string[]): void {
    this.transaction(() => {
      const done = Number(this.get('SELECT count(*) AS done FROM migrations WHERE owner = :owner', { owner })!['done']);
      if (done > steps.length) {
        throw new GraftError('DATABASE_NEWER', `The tables of ${owner} in ${this.#file} are of a newer version of Graft than this one.`, { hint: 'Use the newer version, or another state folder.' });
      }
      for (const [index, sql] of steps.entries()) {
        if (index < done) continue;
        this.#try(() => this.#db.exec(sql));
        this.run('INSERT INTO migrations (owner, step, at) VALUES (:owner, :step, :at)', { owner, step: index, at: Date.now() });
      }
    });
  }

  /**
   * Writes a whole copy, which must not exist yet, beside whatever is going on: in a thread, and through a connection of its own, so that no write waits for it. One step copies it all, for a copy
   * in several begins again at each write between them.
   * @throws GraftError `DATABASE_CORRUPT` where what was copied is damaged
   */
  async copyTo(file: string): Promise<void> {
    const reader = new DatabaseSync(this.#file, { readOnly: true, timeout: BUSY_MS });
    try {
      await backup(reader, file, { rate: -1 });
      try {
        const check = await checkOf(file);
        if (check !== 'ok') throw new GraftError('DATABASE_CORRUPT', `The database ${this.#file} is damaged: ${String(check)}.`, { hint: 'The backups of before are kept. Stop the daemon and put the newest one in its place.' });
      } finally {
        // A reader makes them beside a file that is in WAL mode.
        for (const own of ['-wal', '-shm']) rmSync(`${file}${own}`, { force: true });
      }
    } catch (error) {
      throw this.#told(error);
    } finally {
      reader.close();
    }
  }

  /** Leaves one file: this library keeps statements, and with them the write-ahead log, beyond the closing. */
  close(): void {
    if (!this.#db.isOpen) return;
    this.#sqlToStatement.clear();
    try {
      this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    } catch (error) {
      // On a full disk the log stays, with all that is in it, and is taken up at the next opening.
      if (!GraftError.is(this.#told(error))) throw error;
    } finally {
      this.#db.close();
    }
  }

  #prepared(sql: string): StatementSyncInstance {
    let statement = this.#sqlToStatement.get(sql);
    if (statement === undefined) this.#sqlToStatement.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  #try<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw this.#told(error);
    }
  }

  /** SQLite's failures that a person can do something about, in words. */
  #told(error: unknown): unknown {
    if (GraftError.is(error)) return error;
    const code = (error as { readonly errcode?: number }).errcode;
    switch (code === undefined ? undefined : code & 0xff) {
      case SQLITE.FULL:
        return new GraftError('DISK_FULL', `The disk of ${this.#file} is full.`, { hint: 'Free some space: what was asked for has not been done.', cause: error });
      case SQLITE.CORRUPT:
      case SQLITE.NOTADB:
        return new GraftError('DATABASE_CORRUPT', `The database ${this.#file} is damaged: ${reasonOf(error)}.`, { cause: error });
      case SQLITE.IOERR:
        return new GraftError('DATABASE_UNREADABLE', `The database ${this.#file} can't be read or written: ${reasonOf(error)}.`, { cause: error });
      default:
        return error;
    }
  }
}

/** What SQLite's own check says of a file: `ok`, or what is damaged. It reads all of it, in a thread of its own. */
async function checkOf(file: string): Promise<string> {
  const worker = new Worker(new URL('./check-database.mjs', import.meta.url), { workerData: file });
  const [found] = (await once(worker, 'message')) as [{ readonly check: string } | { readonly errcode: number | undefined; readonly message: string }];
  if ('check' in found) return found.check;
  throw Object.assign(new Error(found.message), { errcode: found.errcode });
}

function bound(parameters: SqlParameters): Record<string, string | number | null | Uint8Array> {
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, value ?? null]));
}
