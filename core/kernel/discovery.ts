import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { PluginFolder, Rejection } from '../contracts/index.ts';
import { GraftError, reasonOf } from './errors.ts';
import { readPluginFolder } from './manifest.ts';

/**
 * Reads folders in order of precedence, each once by whatever links it is reached. One that cannot be a plugin, or is a
 * second one of the same id, is reported with its reason and skipped.
 */
export async function discover(folders: readonly string[], apiVersion: string): Promise<{ readonly idToFolder: ReadonlyMap<string, PluginFolder>; readonly rejected: readonly Rejection[] }> {
  const idToFolder = new Map<string, PluginFolder>();
  const rejected: Rejection[] = [];
  const reject = (dir: string, error: unknown): void => void rejected.push({ dir, code: GraftError.is(error) ? error.code : 'MANIFEST_INVALID', reason: reasonOf(error) });
  const dirs = new Set(await Promise.all(folders.map((dir) => realpath(dir).catch(() => dir))));
  const outcomes = await Promise.allSettled([...dirs].map((dir) => readPluginFolder(dir, apiVersion)));
  for (const [index, dir] of [...dirs].entries()) {
    const outcome = outcomes[index]!;
    const first = outcome.status === 'fulfilled' ? idToFolder.get(outcome.value.id) : undefined;
    if (outcome.status === 'rejected') reject(dir, outcome.reason);
    else if (first === undefined) idToFolder.set(outcome.value.id, outcome.value);
    else reject(dir, new GraftError('PLUGIN_DUPLICATE', `${dir} is a second plugin of the id ${first.id}; the one in ${first.dir} is used.`));
  }
  return { idToFolder, rejected };
}

/** Plugin folders of a directory, sorted by name; the directory itself where it is one. One that does not exist has none. */
export async function foldersIn(dir: string): Promise<readonly string[]> {
  return (await isPluginPackage(dir)) ? [dir] : subfolders(dir);
}

/** Folders of installed packages with a "graft" key in a node_modules folder, scoped ones included. */
export async function packagesIn(nodeModules: string): Promise<readonly string[]> {
  const nested = await Promise.all((await subfolders(nodeModules)).map(async (path) => (path.startsWith(join(nodeModules, '@')) ? subfolders(path) : [path])));
  const flags = await Promise.all(nested.flat().map(async (dir) => ((await isPluginPackage(dir)) ? dir : undefined)));
  return flags.filter((dir) => dir !== undefined);
}

async function subfolders(dir: string): Promise<readonly string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.') && entry.name !== 'node_modules')
    .map((entry) => join(dir, entry.name))
    .sort();
}

/** Most packages are no plugins: looking for the key as text spares parsing them. */
async function isPluginPackage(dir: string): Promise<boolean> {
  return /"graft"\s*:\s*\{/.test(await readFile(join(dir, 'package.json'), 'utf8').catch(() => ''));
}
