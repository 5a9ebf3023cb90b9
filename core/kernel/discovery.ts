import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { Rejection } from '../contracts/index.ts';
import { GraftError, reasonOf } from './errors.ts';
import { readPluginFolder, type PluginFolder } from './manifest.ts';

/** What the folders hold, in order of precedence: of two plugins of one id the first is taken. */
export interface Discovery {
  readonly idToFolder: ReadonlyMap<string, PluginFolder>;
  readonly rejected: readonly Rejection[];
}

/** Reads every folder; one that cannot be a plugin is reported with its reason and skipped. */
export async function discover(folders: readonly string[], apiVersion: string): Promise<Discovery> {
  const idToFolder = new Map<string, PluginFolder>();
  const rejected: Rejection[] = [];
  const outcomes = await Promise.all(folders.map((dir) => readPluginFolder(dir, apiVersion).catch((error: unknown) => rejectionOf(dir, error))));
  for (const outcome of outcomes) {
    if (!('manifest' in outcome)) {
      rejected.push(outcome);
      continue;
    }
    const { id } = outcome;
    const first = idToFolder.get(id);
    if (first === undefined) idToFolder.set(id, outcome);
    else rejected.push({ dir: outcome.dir, code: 'PLUGIN_DUPLICATE', reason: `${outcome.dir} is a second plugin of the id ${id}; the one in ${first.dir} is used.` });
  }
  return { idToFolder, rejected };
}

/** Plugin folders of a directory, sorted by name; the directory itself where it is one. One that does not exist has none. */
export async function foldersIn(dir: string): Promise<readonly string[]> {
  if (await isPluginPackage(dir)) return [await realpath(dir)];
  return subfolders(dir);
}

/** Folders of installed packages with a "graft" key in a node_modules folder, scoped ones included. */
export async function packagesIn(nodeModules: string): Promise<readonly string[]> {
  const names = await subfolders(nodeModules, false);
  const nested = await Promise.all(names.map(async (path) => (path.includes('/@', nodeModules.length) ? subfolders(path, false) : [path])));
  const flags = await Promise.all(nested.flat().map(async (dir) => ((await isPluginPackage(dir)) ? realpath(dir) : undefined)));
  return flags.filter((dir) => dir !== undefined);
}

async function subfolders(dir: string, real = true): Promise<readonly string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  const paths = entries
    .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.') && entry.name !== 'node_modules')
    .map((entry) => join(dir, entry.name))
    .sort();
  if (!real) return paths;
  const resolved = await Promise.all(paths.map((path) => realpath(path).catch(() => undefined)));
  return resolved.filter((path) => path !== undefined);
}

/** Most packages are no plugins: looking for the word first spares parsing them. */
async function isPluginPackage(dir: string): Promise<boolean> {
  const text = await readFile(join(dir, 'package.json'), 'utf8').catch(() => '');
  return text.includes('"graft"') && /"graft"\s*:\s*\{/.test(text);
}

function rejectionOf(dir: string, error: unknown): Rejection {
  return { dir, code: GraftError.is(error) ? error.code : 'MANIFEST_INVALID', reason: reasonOf(error) };
}
