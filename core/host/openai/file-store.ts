/** Uploaded files: their bytes in a folder under their ids, what is known of them in the database. */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, mkdirSync, readdirSync, renameSync, rmSync, type ReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Database, SqlRow } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { lacksSpace } from '../full-disk.ts';
import { syncFolder } from '../../run/durable.ts';

const STEPS: readonly string[] = [
  `CREATE TABLE host_files (
     id TEXT PRIMARY KEY,
     filename TEXT NOT NULL,
     purpose TEXT NOT NULL,
     bytes INTEGER NOT NULL,
     sha256 TEXT NOT NULL,
     created_at INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX host_files_by_content ON host_files (sha256);`,
  'ALTER TABLE host_files ADD COLUMN expires_at INTEGER',
];
/** How the name of a file that is being received ends. */
const RECEIVING = '.receiving';

export interface StoredFile {
  readonly id: string;
  /** As its sender calls it: never a path here. */
  readonly filename: string;
  readonly purpose: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Unix milliseconds. */
  readonly createdAt: number;
  /** Unix milliseconds; undefined: it is kept until somebody deletes it. */
  readonly expiresAt: number | undefined;
}

/** A file that is there and not yet kept. */
export interface Received {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Its first bytes. */
  readonly head: Buffer;
}

export class FileStore {
  readonly #dir: string;
  readonly #database: Database;
  readonly #totalBytes: number;
  /** Received, and neither kept nor thrown away. */
  readonly #pending = new Set<Received>();
  readonly #holders = new Set<{ readonly ids: readonly string[] }>();
  /** Of all files, those that are still coming included. */
  #bytes: number;

  /**
   * Removes what a host that was killed left half done.
   * @param totalBytes of all files together
   * @param report is told what was removed, in sentences
   */
  constructor(dir: string, database: Database, totalBytes: number, report: (sentence: string) => void) {
    this.#dir = dir;
    this.#database = database;
    this.#totalBytes = totalBytes;
    database.migrate('host-files', STEPS);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const known = new Set(this.list().map((file) => basename(this.path(file))));
    for (const name of readdirSync(dir)) {
      if (known.has(name)) continue;
      rmSync(join(dir, name), { recursive: true });
      report(`Removed ${name} from the uploaded files: the host ended before it was whole, or known.`);
    }
    this.#bytes = this.list().reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * Writes a stream to disk as it comes, and syncs it. What fails leaves nothing behind.
   * @param most bytes
   * @throws GraftError `FILE_TOO_LARGE`, `STORE_FULL`, `DISK_FULL`; what the stream throws
   */
  async receive(stream: Readable, most: number): Promise<Received> {
    const path = join(this.#dir, `${randomBytes(12).toString('hex')}${RECEIVING}`);
    const hash = createHash('sha256');
    let [bytes, head] = [0, Buffer.alloc(0)];
    let file: FileHandle | undefined;
    try {
      file = await open(path, 'wx', 0o600);
      for await (const piece of stream) {
        const chunk = piece as Buffer;
        bytes += chunk.length;
        this.#bytes += chunk.length;
        if (bytes > most) throw new GraftError('FILE_TOO_LARGE', `A file may have ${most} bytes, and this one has more.`);
        if (this.#bytes > this.#totalBytes) throw new GraftError('STORE_FULL', `All files together may have ${this.#totalBytes} bytes, and with this one they have more.`, { hint: 'Delete some.' });
        if (head.length < 16) head = Buffer.concat([head, chunk]).subarray(0, 16);
        hash.update(chunk);
        // A disk that is all but full takes a part of it without a word.
        for (let written = 0; written < chunk.length; ) written += (await file.write(chunk, written)).bytesWritten;
      }
      await file.sync();
      await file.close();
      const received = { path, bytes, sha256: hash.digest('hex'), head };
      this.#pending.add(received);
      return received;
    } catch (error) {
      this.#bytes -= bytes;
      await file?.close().catch(() => undefined);
      rmSync(path, { force: true });
      throw diskFull(error);
    }
  }

  /** Keeps a received file. @param lifeMs milliseconds after which it expires; for good by default */
  async keep(received: Received, filename: string, purpose: string, lifeMs?: number): Promise<StoredFile> {
    const { path, bytes, sha256 } = received;
    const createdAt = Date.now();
    const stored: StoredFile = { id: `file-${randomBytes(12).toString('hex')}`, filename, purpose, bytes, sha256, createdAt, expiresAt: lifeMs === undefined ? undefined : createdAt + lifeMs };
    const to = this.path(stored);
    try {
      renameSync(path, to);
      await syncFolder(this.#dir);
      this.#database.run('INSERT INTO host_files (id, filename, purpose, bytes, sha256, created_at, expires_at) VALUES (:id, :filename, :purpose, :bytes, :sha256, :createdAt, :expiresAt)', { ...stored, expiresAt: stored.expiresAt ?? null });
      this.#pending.delete(received);
      return stored;
    } catch (error) {
      rmSync(to, { force: true });
      this.discard(received);
      throw diskFull(error);
    }
  }

  /** Throws a received file away; one that was kept, or thrown away before, is left as it is. */
  discard(received: Received): void {
    if (!this.#pending.delete(received)) return;
    this.#bytes -= received.bytes;
    rmSync(received.path, { force: true });
  }

  /** One of the same content, name, purpose and life that was kept since a moment: the same upload, sent again. */
  twin({ sha256 }: Received, filename: string, purpose: string, lifeMs: number | undefined, since: number): StoredFile | undefined {
    const row = this.#database.get('SELECT * FROM host_files WHERE sha256 = :sha256 AND filename = :filename AND purpose = :purpose AND expires_at - created_at IS :lifeMs AND created_at >= :since ORDER BY created_at DESC LIMIT 1', { sha256, filename, purpose, lifeMs: lifeMs ?? null, since });
    return row === undefined ? undefined : fileOf(row);
  }

  /** The newest first. */
  list(): readonly StoredFile[] {
    return this.#database.all('SELECT * FROM host_files ORDER BY created_at DESC, id DESC').map(fileOf);
  }

  /** Those whose time is over. */
  expired(now: number): readonly StoredFile[] {
    return this.#database.all('SELECT * FROM host_files WHERE expires_at <= :now', { now }).map(fileOf);
  }

  get(id: string): StoredFile | undefined {
    const row = this.#database.get('SELECT * FROM host_files WHERE id = :id', { id });
    return row === undefined ? undefined : fileOf(row);
  }

  /** Absolute; whoever reads what is to be trained on goes by its ending. */
  path({ id, purpose }: Pick<StoredFile, 'id' | 'purpose'>): string {
    return join(this.#dir, purpose === 'fine-tune' ? `${id}.jsonl` : id);
  }

  read(file: StoredFile): ReadStream {
    return createReadStream(this.path(file));
  }

  /** Does something that needs files: meanwhile `held` says so of them. */
  async during<T>(ids: readonly string[], act: () => Promise<T>): Promise<T> {
    const holder = { ids };
    this.#holders.add(holder);
    try {
      return await act();
    } finally {
      this.#holders.delete(holder);
    }
  }

  held(id: string): boolean {
    return [...this.#holders].some(({ ids }) => ids.includes(id));
  }

  /** @returns false where there is no such file */
  remove(id: string): boolean {
    const file = this.get(id);
    if (file === undefined) return false;
    this.#database.run('DELETE FROM host_files WHERE id = :id', { id });
    this.#bytes -= file.bytes;
    rmSync(this.path(file), { force: true });
    return true;
  }
}

function fileOf(row: SqlRow): StoredFile {
  return { id: String(row['id']), filename: String(row['filename']), purpose: String(row['purpose']), bytes: Number(row['bytes']), sha256: String(row['sha256']), createdAt: Number(row['created_at']), expiresAt: row['expires_at'] === null ? undefined : Number(row['expires_at']) };
}

function diskFull(error: unknown): unknown {
  return lacksSpace(error) ? new GraftError('DISK_FULL', 'The disk that files are kept on is full; nothing was kept.', { cause: error }) : error;
}
