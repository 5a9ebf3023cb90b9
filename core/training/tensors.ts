/** The tensors of a training in a checkpoint: what its grafts' own files may round or rename, exactly as it is. */
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type { Trainable } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import type { AdamW } from '../tensor/adamw.ts';
import { readTensors, writeTensors, type NamedTensor, type NamedTensors } from '../tensor/named-tensors.ts';

const FILE = 'trainer.safetensors';

/** Writes every trainable and its AdamW moments, float32. */
export async function saveTensors(dir: string, trainables: readonly Trainable[], optimizer: AdamW): Promise<void> {
  const values = trainables.map(({ name, variable }) => [name, { shape: variable.shape, values: variable.dataSync<'float32'>() }] as const);
  await writeTensors(join(dir, FILE), new Map<string, NamedTensor>([...values, ...optimizer.exportState().tensors]));
}

/**
 * Sets the trainables and the moments to what `saveTensors` wrote.
 * @param step steps that AdamW had taken
 * @throws GraftError `CHECKPOINT_MISMATCH` where the checkpoint is of other trainables
 */
export async function restoreTensors(dir: string, step: number, trainables: readonly Trainable[], optimizer: AdamW): Promise<void> {
  const saved = await readTensors(join(dir, FILE));
  for (const trainable of trainables) {
    if (assign(trainable, saved)) continue;
    const [{ name, variable }, tensor] = [trainable, saved.get(trainable.name)];
    throw new GraftError('CHECKPOINT_MISMATCH', `The checkpoint ${dir} has ${tensor === undefined ? 'no' : `a [${tensor.shape.join(', ')}]`} ${name}; [${variable.shape.join(', ')}] is needed.`, {
      hint: 'Resume with the config that the run began with.',
    });
  }
  optimizer.importState({ step, tensors: saved });
}

/** Sets those of the trainables that `saveTensors` wrote with the same name and shape; the others stay as they are. */
export async function restoreInCommon(dir: string, trainables: readonly Trainable[]): Promise<void> {
  const saved = await readTensors(join(dir, FILE));
  for (const trainable of trainables) assign(trainable, saved);
}

/** @returns false where no tensor has the name and the shape */
function assign({ name, variable }: Trainable, saved: NamedTensors): boolean {
  const tensor = saved.get(name);
  if (tensor === undefined || !tf.util.arraysEqual([...tensor.shape], variable.shape)) return false;
  tf.tidy(() => variable.assign(tf.tensor(tensor.values, variable.shape)));
  return true;
}
