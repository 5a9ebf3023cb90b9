/** Writing so that what is there after a crash or a power cut is whole. */
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

/** How the name of a file that is being written ends, before it takes its place. */
export const ASIDE = /\.\d+\.tmp$/;

/** Replaces a file in one move: a reader sees the old text or the new, never a part. @param mode who may read it */
export async function writeText(path: string, text: string, mode?: number): Promise<void> {
  const aside = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(aside, text, { mode });
    await syncFile(aside);
    await rename(aside, path);
  } catch (error) {
    // On a full disk it would keep room from what is to be written next.
    await rm(aside, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

export async function writeJson(path: string, value: unknown, mode?: number): Promise<void> {
  await writeText(path, `${JSON.stringify(value, null, 2)}\n`, mode);
}

/** Every file below `dir` with its size, by path relative to `dir`. */
export async function filesUnder(dir: string): Promise<[string, number][]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(files.sort().map(async (file): Promise<[string, number]> => [relative(dir, file).replaceAll('\\', '/'), (await stat(file)).size]));
}

/** Syncs every file and folder below `dir`, and `dir`, to disk. */
export async function syncTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else await syncFile(path);
  }
  await syncFolder(dir);
}

export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes a rename in `dir` durable. Windows cannot open a folder, and needs no such thing. */
export async function syncFolder(dir: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = openSync(dir, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
