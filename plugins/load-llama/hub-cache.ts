/**
 * The cache that Python's huggingface_hub keeps, so that either finds what the other downloaded:
 * `models--<owner>--<name>/` with `refs/<branch>` (a commit), `blobs/<etag>`, and `snapshots/<commit>/<file>`, links to blobs.
 */
import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { readJsonFile } from 'graft';
import { CONFIG_FILE, INDEX_FILE, TOKENIZER_FILE, WEIGHTS_FILE } from './files.ts';
import type { HubFile } from './hub-client.ts';

/** Which files of a model are wanted: without weights it can be looked at, not run. */
export type Parts = 'texts' | 'all';

export class HubCache {
  readonly #dir: string;

  constructor(cacheDir: string, model: string) {
    this.#dir = join(cacheDir, ['models', ...model.split('/')].join('--'));
  }

  snapshotDir(commit: string): string {
    return join(this.#dir, 'snapshots', commit);
  }

  /** The folder of a revision, where all that is wanted of it is there; undefined otherwise. */
  async find(revision: string, parts: Parts): Promise<string | undefined> {
    const commit = isCommit(revision) ? revision : (await readText(join(this.#dir, 'refs', revision)))?.trim();
    if (commit === undefined) return undefined;
    const dir = this.snapshotDir(commit);
    const wanted = [CONFIG_FILE, TOKENIZER_FILE, ...(parts === 'all' ? await weightFiles(dir) : [])];
    for (const file of wanted) if (!(await exists(join(dir, file)))) return undefined;
    return dir;
  }

  /** Whether a file's content is there; if so it is linked into the snapshot. */
  async link({ path, etag }: HubFile, commit: string): Promise<boolean> {
    const blob = this.blob(etag);
    if (!(await exists(blob))) return false;
    const link = join(this.snapshotDir(commit), path);
    if (await exists(link)) return true;
    await mkdir(dirname(link), { recursive: true });
    const aside = `${link}.${randomUUID().slice(0, 8)}`;
    // Windows lets only administrators make links.
    await symlink(relative(dirname(link), blob), aside).catch(() => copyFile(blob, aside));
    await rename(aside, link);
    return true;
  }

  blob(etag: string): string {
    return join(this.#dir, 'blobs', etag);
  }

  /**
   * A file to download into, with what an earlier download that broke off left: this process's alone until `release`.
   * huggingface_hub calls its own `<etag>.incomplete`.
   */
  async claim(etag: string): Promise<string> {
    const blob = this.blob(etag);
    await mkdir(dirname(blob), { recursive: true });
    const mine = `${blob}.${process.pid}-${randomUUID().slice(0, 8)}.incomplete`;
    for (const name of await readdir(dirname(blob))) {
      if (!name.startsWith(`${etag}.`) || !name.endsWith('.incomplete') || isInUse(name.slice(etag.length + 1))) continue;
      const taken = await rename(join(dirname(blob), name), mine).then(() => true, () => false);
      if (taken) return mine;
    }
    await writeFile(mine, '');
    return mine;
  }

  /** Leaves a broken download to whoever comes next. */
  async release(claimed: string, etag: string): Promise<void> {
    await rename(claimed, `${this.blob(etag)}.incomplete`);
  }

  async finish(claimed: string, etag: string): Promise<void> {
    await rename(claimed, this.blob(etag));
  }

  async setRef(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const ref = join(this.#dir, 'refs', revision);
    await mkdir(dirname(ref), { recursive: true });
    const aside = join(dirname(ref), `.${basename(ref)}.${randomUUID().slice(0, 8)}`);
    await writeFile(aside, commit);
    await rename(aside, ref).catch(async (error: unknown) => {
      await rm(aside, { force: true });
      throw error;
    });
  }
}

export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** Of an index, the files that it names. */
async function weightFiles(dir: string): Promise<readonly string[]> {
  const index = await readJsonFile(join(dir, INDEX_FILE));
  return index === undefined ? [WEIGHTS_FILE] : [...new Set(Object.values(index['weight_map'] as Record<string, string>))];
}

/** `<pid>-<random>.incomplete` of a process that runs. */
function isInUse(suffix: string): boolean {
  const pid = /^(\d+)-/.exec(suffix)?.[1];
  if (pid === undefined) return false;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

async function readText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}
