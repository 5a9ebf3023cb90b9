// @ts-check
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const DAY_MS = 86_400_000;
/** How long a file may be written before it counts as left behind. */
const LEFT_BEHIND_MS = 3_600_000;
const DIGEST_LENGTH = 64;
/** All of them are looked at whenever one is written. */
const MOST_TEXTS = 500;

/**
 * Texts that can be made again, a file each. A text that is damaged, or that somebody else may have written, is not there; one
 * that can't be written is not kept. So nothing that goes wrong here is an error: it costs the making.
 */
export class KeptTexts {
  #dir;
  #mostBytes;

  /**
   * @param {string} dir the user's own; made with the first text
   * @param {number} mostBytes of all texts together: beyond, those unused for longest go
   */
  constructor(dir, mostBytes) {
    this.#dir = dir;
    this.#mostBytes = mostBytes;
  }

  /**
   * @param {string} key
   * @returns {string | undefined} what was written last under the key, to the byte
   */
  read(key) {
    const file = this.#fileOf(key);
    try {
      if (!isOwn(this.#dir)) return undefined;
      const bytes = readFileSync(file);
      const text = bytes.subarray(DIGEST_LENGTH);
      if (bytes.toString('latin1', 0, DIGEST_LENGTH) !== sha256(text)) return undefined;
      markUsed(file);
      return text.toString('utf8');
    } catch {
      // Not there, or not for this user to read.
      return undefined;
    }
  }

  /**
   * Readers see the old text or the new one.
   * @param {string} key
   * @param {string} text
   */
  write(key, text) {
    const file = this.#fileOf(key);
    const aside = `${file}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      if (!isOwn(this.#dir)) return;
      try {
        writeFileSync(aside, sha256(text) + text, { mode: 0o600, flag: 'wx' });
        renameSync(aside, file);
      } finally {
        rmSync(aside, { force: true });
      }
      this.#prune();
    } catch {
      // A full disk, or a folder that can't be made: it is made anew each time.
    }
  }

  /** @param {string} key */
  #fileOf(key) {
    return join(this.#dir, sha256(key).slice(0, 32));
  }

  #prune() {
    const files = readdirSync(this.#dir).flatMap((name) => {
      const file = join(this.#dir, name);
      // Another process may be pruning, too.
      const found = statSync(file, { throwIfNoEntry: false });
      return found?.isFile() === true ? [{ file, size: found.size, mtimeMs: found.mtimeMs }] : [];
    });
    let [bytes, texts] = [0, 0];
    for (const { file, size, mtimeMs } of files.sort((a, b) => b.mtimeMs - a.mtimeMs)) {
      const isOver = file.endsWith('.tmp') ? Date.now() - mtimeMs > LEFT_BEHIND_MS : (bytes += size) > this.#mostBytes || ++texts > MOST_TEXTS;
      if (isOver) rmSync(file, { force: true });
    }
  }
}

/**
 * So that it does not count as unused.
 * @param {string} file
 */
function markUsed(file) {
  try {
    if (Date.now() - statSync(file).mtimeMs > DAY_MS) utimesSync(file, new Date(), new Date());
  } catch {
    // It can be read, and that is all that is needed of a disk that can't be written to.
  }
}

/**
 * Whether nobody but this user may write to a folder: what is in it will be run.
 * @param {string} dir
 */
function isOwn(dir) {
  const { uid, mode } = statSync(dir);
  return process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0);
}

/**
 * @param {string | Uint8Array} data
 * @returns {string} hex
 */
export function sha256(data) {
  return createHash('sha256').update(data).digest('hex');
}
