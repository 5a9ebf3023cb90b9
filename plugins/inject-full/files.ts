import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadTrainables, readJsonFile, saveTrainables, type SavedTrainable } from 'graft';
import type { FullOptions } from './options.ts';

/** The trained weights by the checkpoint's own names, so that any reader of safetensors can lay them over the base. */
const WEIGHTS_FILE = 'model.safetensors';
/** Says that the folder holds weights of a base and which, and not a model of its own: it has no config.json. */
const NOTE_FILE = 'trained_weights.json';

/** @returns the names of the files written */
export async function saveFull(dir: string, trainables: readonly SavedTrainable[], baseModel: string): Promise<readonly string[]> {
  const note = { base_model_name_or_path: baseModel, parameters: trainables.map((trainable) => trainable.name) };
  await writeFile(join(dir, NOTE_FILE), `${JSON.stringify(note, null, 2)}\n`);
  await saveTrainables(join(dir, WEIGHTS_FILE), trainables, { format: 'pt' });
  return [NOTE_FILE, WEIGHTS_FILE];
}

/** @throws GraftError where a trained parameter is missing, unknown or of another shape */
export async function loadFull(dir: string, trainables: readonly SavedTrainable[]): Promise<void> {
  await loadTrainables(join(dir, WEIGHTS_FILE), trainables);
}

/** The options that train just what a folder holds; undefined where `saveFull` did not write it. */
export async function recognizeFull(dir: string): Promise<Partial<FullOptions> | undefined> {
  const parameters = (await readJsonFile(join(dir, NOTE_FILE)))?.['parameters'];
  return Array.isArray(parameters) ? { parameters: parameters.map(String) } : undefined;
}
