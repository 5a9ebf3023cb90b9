/** The folder in which a host keeps what must last. */
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { syncFile, syncFolder, writeJson } from '../run/durable.ts';
import { lock } from '../run/lock.ts';
import { SqliteDatabase } from './sqlite.ts';
import { addressFileOf, type DaemonAddress } from './state-dir.ts';

/** Backups that are kept, a day apart at least. */
const KEPT_BACKUPS = 7;
const DAY_MS = 86_400_000;
/** Milliseconds without a sign of life after which a daemon in another container counts as gone: none is ever busy for so long. */
const UNSEEN_MS = 60_000;
/** What the name of a backup that is being written has in it, and those of SQLite's own files beside it. */
export const BACKUP_WRITING = '.writing';

export class HostState {
  readonly dir: string;
  readonly database: SqliteDatabase;
  readonly #release: () => void;

  private constructor(dir: string, database: SqliteDatabase, release: () => void) {
    this.dir = dir;
    this.database = database;
    this.#release = release;
  }

  /**
   * Takes the folder for this process, and opens its database.
   * @throws GraftError `STATE_UNWRITABLE`, `STATE_LOCKED`, `DATABASE_CORRUPT` naming the newest backup
   */
  static open(dir: string): HostState {
    try {
      mkdirSync(join(dir, 'backups'), { recursive: true, mode: 0o700 });
      mkdirSync(join(dir, 'submitted'), { recursive: true, mode: 0o700 });
      chmodSync(dir, 0o700);
    } catch (error) {
      throw new GraftError('STATE_UNWRITABLE', `The state folder ${dir} can't be made: ${reasonOf(error)}.`, { hint: 'Name another one as state_dir.', cause: error });
    }
    const release = lock(join(dir, 'daemon.lock'), { code: 'STATE_LOCKED', what: dir, unseenMs: UNSEEN_MS });
    try {
      return new HostState(dir, openDatabase(dir), release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Configs as they were submitted. */
  get submittedDir(): string {
    return join(this.dir, 'submitted');
  }

  /** Copies the database unless that was done within the last day; the oldest copies go. */
  async backUp(now = Date.now()): Promise<void> {
    const dir = join(this.dir, 'backups');
    const newest = backupsIn(dir).at(-1);
    if (newest !== undefined && now - madeAt(newest) < DAY_MS) return;
    // Whatever has the name of a backup is whole.
    for (const name of readdirSync(dir)) if (name.includes(BACKUP_WRITING)) rmSync(join(dir, name));
    const file = join(dir, `graft-${now}.db`);
    await this.database.copyTo(`${file}${BACKUP_WRITING}`);
    await syncFile(`${file}${BACKUP_WRITING}`);
    renameSync(`${file}${BACKUP_WRITING}`, file);
    await syncFolder(dir);
    for (const old of backupsIn(dir).slice(0, -KEPT_BACKUPS)) rmSync(old);
  }

  /** Says where the daemon is, to its owner alone. */
  async writeAddress(address: DaemonAddress): Promise<void> {
    await writeJson(addressFileOf(this.dir), address, 0o600);
  }

  close(): void {
    try {
      this.database.close();
    } finally {
      rmSync(addressFileOf(this.dir), { force: true });
      this.#release();
    }
  }
}

function openDatabase(dir: string): SqliteDatabase {
  const file = join(dir, 'graft.db');
  try {
    return new SqliteDatabase(file);
  } catch (error) {
    if (!GraftError.is(error) || error.code !== 'DATABASE_CORRUPT') throw error;
    const newest = backupsIn(join(dir, 'backups')).at(-1);
    const hint = newest === undefined ? 'There is no backup. Move the file away to begin anew; run directories are not lost.' : `Move it away with its -wal and -shm files, and put the newest backup in its place: ${newest}`;
    throw new GraftError(error.code, error.message, { hint, cause: error });
  }
}

/** `graft-<Unix milliseconds>.db`. */
function madeAt(backup: string): number {
  return Number(/-(\d+)\.db$/.exec(basename(backup))?.[1] ?? 0);
}

/** The oldest first. */
function backupsIn(dir: string): readonly string[] {
  return readdirSync(dir).filter((name) => name.endsWith('.db')).sort().map((name) => join(dir, name));
}
