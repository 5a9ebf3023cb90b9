/** The tensors of a training in a checkpoint: what its grafts' own files may round or rename, exactly as it is. */
import { join } from 'node:path';
import { GraftError, readTensors, tf, writeTensors, type AdamW, type Trainable } from 'graft';

const FILE = 'trainer.safetensors';

/** Writes every trainable and its AdamW moments, float32. */
export async function saveTensors(dir: string, trainables: readonly Trainable[], optimizer: AdamW): Promise<void> {
  const { tensors: moments } = optimizer.exportState();
  const all = [...trainables.map(({ name, variable }) => [name, variable] as const), ...moments];
  const tensors = new Map(all.map(([name, tensor]) => [name, { shape: tensor.shape, values: Float32Array.from(tensor.dataSync<'float32'>()) }]));
  tf.dispose([...moments.values()]);
  await writeTensors(join(dir, FILE), tensors);
}

/**
 * Sets the trainables and the moments to what `saveTensors` wrote.
 * @param step steps that AdamW had taken
 * @throws GraftError `CHECKPOINT_MISMATCH` where the checkpoint is of other trainables
 */
export async function restoreTensors(dir: string, step: number, trainables: readonly Trainable[], optimizer: AdamW): Promise<void> {
  const saved = await readTensors(join(dir, FILE));
  for (const { name, variable } of trainables) {
    const tensor = saved.get(name);
    if (tensor === undefined || !tf.util.arraysEqual([...tensor.shape], variable.shape)) {
      throw new GraftError('CHECKPOINT_MISMATCH', `The checkpoint ${dir} has ${tensor === undefined ? 'no' : `a [${tensor.shape.join(', ')}]`} ${name}; [${variable.shape.join(', ')}] is needed.`, {
        hint: 'Resume with the config that the run began with.',
      });
    }
    tf.tidy(() => variable.assign(tf.tensor(tensor.values, variable.shape)));
  }
  const moments = new Map([...saved].filter(([name]) => /\.exp_avg(_sq)?$/.test(name)).map(([name, { values, shape }]) => [name, tf.tensor(values, [...shape])]));
  try {
    optimizer.importState({ step, tensors: moments });
  } finally {
    tf.dispose([...moments.values()]);
  }
}
