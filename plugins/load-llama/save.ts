/** Writes a model as a Hugging Face folder: weights as they are now, and the checkpoint's other files as they were. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GraftError, writeShardedSafetensors } from 'graft';
import type { LlamaParameter } from './parameter.ts';

/** Where a model came from. */
export interface ModelOrigin {
  /** As the config named it. */
  readonly name: string;
  /** The folder that it was read from. */
  readonly dir: string;
  /** Files of it beside the weights: config, tokenizer. */
  readonly files: readonly string[];
}

/** transformers' own default before version 5. */
const MAX_SHARD_BYTES = 5e9;

/**
 * @param dir made where it is missing
 * @returns the names of the files written
 * @throws GraftError `MODEL_FILES_GONE` where the folder that the model was read from is no longer there
 */
export async function saveModel(dir: string, parameters: readonly LlamaParameter[], origin: ModelOrigin, maxShardBytes = MAX_SHARD_BYTES): Promise<readonly string[]> {
  await mkdir(dir, { recursive: true });
  const weights = await writeShardedSafetensors(
    dir,
    parameters.map((parameter) => ({ name: parameter.name, dtype: parameter.storedAs, shape: parameter.shape, bytes: () => parameter.stored() })),
    maxShardBytes,
  );
  for (const file of origin.files) await copy(join(origin.dir, file), join(dir, file));
  return [...origin.files, ...weights];
}

/** The content alone: from a base that may not be written to comes a model that may. */
async function copy(from: string, to: string): Promise<void> {
  try {
    await writeFile(to, await readFile(from));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new GraftError('MODEL_FILES_GONE', `${from} has gone since the model was loaded, so the saved model would lack it.`, { cause: error });
  }
}
