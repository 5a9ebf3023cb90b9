import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Graft } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { syncFolder, syncTree } from './durable.ts';
import { writeOrigin, type GraftOrigin } from './graft-origin.ts';

/** How the name of a folder that is being written ends. */
export const WRITING = '.writing';

/** Folder of one graft in `adapters/` and in a checkpoint: its place in the config's `inject:` and its name. */
export function graftFolder(index: number, graft: Pick<Graft, 'name'>): string {
  return `${index}-${graft.name.replaceAll(/[^\w.-]+/g, '-')}`;
}

/** Shapes (`8x32`) by the graft's folder and the trainable's name. */
export type TrainableShapes = Readonly<Record<string, Readonly<Record<string, string>>>>;

export function trainablesOf(grafts: readonly Graft[]): TrainableShapes {
  return Object.fromEntries(grafts.map((graft, index) => [graftFolder(index, graft), Object.fromEntries(graft.trainables.map(({ name, variable }) => [name, variable.shape.join('x')]))]));
}

/**
 * Saves each graft in its own folder of `dir`, in the ecosystem's format, and beside it what it was made by.
 * @param origins in the order of the grafts
 * @returns the absolute folders, in the order of the grafts
 */
export async function saveGrafts(grafts: readonly Graft[], dir: string, origins: readonly GraftOrigin[]): Promise<readonly string[]> {
  await mkdir(dir, { recursive: true });
  const folders: string[] = [];
  for (const [index, graft] of grafts.entries()) {
    const folder = join(dir, graftFolder(index, graft));
    await mkdir(folder, { recursive: true });
    await graft.save(folder);
    if (origins[index] !== undefined) await writeOrigin(folder, origins[index]);
    folders.push(folder);
  }
  return folders;
}

/**
 * Saves the grafts of a finished run: `dir` is whole or not there.
 * @returns the names of the folders in it, in the order of the grafts
 */
export async function saveAdapters(grafts: readonly Graft[], dir: string, origins: readonly GraftOrigin[]): Promise<readonly string[]> {
  const aside = `${dir}${WRITING}`;
  await rm(aside, { recursive: true, force: true });
  const folders = await save(grafts, aside, origins);
  await rm(dir, { recursive: true, force: true });
  await rename(aside, dir);
  await syncFolder(dirname(dir));
  return folders.map((folder) => basename(folder));
}

async function save(grafts: readonly Graft[], aside: string, origins: readonly GraftOrigin[]): Promise<readonly string[]> {
  try {
    const folders = await saveGrafts(grafts, aside, origins);
    await syncTree(aside);
    return folders;
  } catch (error) {
    // On a full disk it would keep room from what is to be written next.
    await rm(aside, { recursive: true, force: true });
    throw error;
  }
}

/** What becomes of the tensors that a run trains under another config: how many go on, begin anew and are gone. */
export function changeOf(before: TrainableShapes, after: TrainableShapes): { readonly kept: number; readonly fresh: number; readonly gone: number } {
  const listed = (shapes: TrainableShapes): readonly string[] => Object.entries(shapes).flatMap(([folder, own]) => Object.entries(own).map(([name, shape]) => JSON.stringify([folder, name, shape])));
  const [had, has] = [listed(before), new Set(listed(after))];
  const kept = had.filter((each) => has.has(each)).length;
  return { kept, fresh: has.size - kept, gone: had.length - kept };
}

/** Reads those of the grafts that a folder has as a whole, by what a checkpoint says of it; the others stay as they began. */
export async function loadGraftsInCommon(grafts: readonly Graft[], dir: string, saved: TrainableShapes): Promise<void> {
  const wanted = trainablesOf(grafts);
  for (const [index, graft] of grafts.entries()) {
    const folder = graftFolder(index, graft);
    if (isDeepStrictEqual(saved[folder], wanted[folder])) await graft.load(join(dir, folder));
  }
}

/**
 * Reads what `saveGrafts` wrote back into grafts of the same config.
 * @throws GraftError `ADAPTER_MISSING` where the folder of a graft is not there, `ADAPTER_UNKNOWN` where there is one more
 */
export async function loadGrafts(grafts: readonly Graft[], dir: string): Promise<void> {
  const expected = new Set(grafts.map((graft, index) => graftFolder(index, graft)));
  for (const [index, graft] of grafts.entries()) {
    const folder = join(dir, graftFolder(index, graft));
    if (!existsSync(folder)) {
      const present = existsSync(dir) ? await readdir(dir) : [];
      throw new GraftError('ADAPTER_MISSING', `${dir} has no folder ${graftFolder(index, graft)} for the config's inject entry ${index + 1}${present.length > 0 ? `; it has ${present.sort().join(', ')}` : ''}.`, {
        hint: 'Use the config that the adapters were trained with.',
      });
    }
    await graft.load(folder);
  }
  const unknown = (await readdir(dir)).filter((name) => /^\d+-/.test(name) && !expected.has(name));
  if (unknown.length > 0) {
    throw new GraftError('ADAPTER_UNKNOWN', `${dir} has ${unknown.sort().join(', ')}, for which the config has no inject entry.`, { hint: 'Use the config that the adapters were trained with.' });
  }
}
