/** The trainable tensors of a graft in a safetensors file, by the names that its format gives them. */
import type { Variable } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs';
import { distance } from 'fastest-levenshtein';
import type { Trainable } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { readTensors, writeTensors } from './named-tensors.ts';

/** A trainable with the other names under which files hold it. */
export interface SavedTrainable extends Trainable {
  /** Names under which the same values are written once more. */
  readonly copies?: readonly string[];
  /** Names that are read too, never written. */
  readonly aliases?: readonly string[];
}

export interface LoadTrainablesOptions {
  /** Turns a name in the file into one of the trainables'. */
  readonly rename?: (name: string) => string;
  /** Whether a tensor that belongs to no trainable may be left where it is; the default refuses every one. */
  readonly ignore?: (name: string, values: Float32Array) => boolean;
}

const OTHER_ORIGIN = 'The adapter was made with other options, or for another base model.';

/** Writes them as f32. */
export async function saveTrainables(path: string, trainables: readonly SavedTrainable[], metadata?: Readonly<Record<string, string>>): Promise<void> {
  const tensors = new Map(
    trainables.flatMap(({ name, copies, variable }) => {
      const tensor = { shape: variable.shape, values: Float32Array.from(variable.dataSync<'float32'>()) };
      return [name, ...(copies ?? [])].map((each) => [each, tensor] as const);
    }),
  );
  await writeTensors(path, tensors, metadata);
}

/**
 * Replaces the values of the trainables by those in a file of f32, f16 or bf16: all of them, or where anything is wrong none.
 * @throws GraftError `SAFETENSORS_MISSING`, `ADAPTER_TENSOR_MISSING`, `ADAPTER_TENSOR_UNKNOWN` or `ADAPTER_TENSOR_SHAPE`
 */
export async function loadTrainables(path: string, trainables: readonly SavedTrainable[], options: LoadTrainablesOptions = {}): Promise<void> {
  const read = await readTensors(path);
  const tensors = new Map([...read].map(([name, tensor]) => [options.rename?.(name) ?? name, tensor]));
  const found = trainables.map((trainable) => ({ trainable, name: namesOf(trainable).find((name) => tensors.has(name)) }));

  const missing = found.filter(({ name }) => name === undefined).map(({ trainable }) => trainable.name);
  const known = new Set(trainables.flatMap(namesOf));
  const unknown = [...tensors].filter(([name, { values }]) => !known.has(name) && options.ignore?.(name, values) !== true).map(([name]) => name);
  if (missing.length > 0) {
    throw new GraftError('ADAPTER_TENSOR_MISSING', `${path} has no tensor ${listed(missing)}${near(missing[0]!, unknown)}.`, { hint: OTHER_ORIGIN });
  }
  if (unknown.length > 0) {
    throw new GraftError('ADAPTER_TENSOR_UNKNOWN', `${path} holds ${listed(unknown)}, which belongs to nothing here.`, { hint: OTHER_ORIGIN });
  }
  for (const { trainable, name } of found) {
    const { shape } = tensors.get(name!)!;
    if (shape.length === trainable.variable.shape.length && shape.every((size, axis) => size === trainable.variable.shape[axis])) continue;
    throw new GraftError('ADAPTER_TENSOR_SHAPE', `${path}: ${name} is [${shape.join(', ')}], but [${trainable.variable.shape.join(', ')}] is needed.`, {
      hint: OTHER_ORIGIN,
    });
  }
  for (const { trainable, name } of found) assign(trainable.variable, tensors.get(name!)!.values);
}

/** Those that a file may hold it under, the one that is written first. */
function namesOf({ name, copies, aliases }: SavedTrainable): readonly string[] {
  return [name, ...(copies ?? []), ...(aliases ?? [])];
}

function assign(variable: Variable, values: Float32Array): void {
  tf.tidy(() => variable.assign(tf.tensor(values, variable.shape)));
}

function listed(names: readonly string[]): string {
  return names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
}

/** A file of another format often has the tensor under a name that is nearly the same. */
function near(missing: string, unknown: readonly string[]): string {
  const [nearest] = [...unknown].sort((a, b) => distance(missing, a) - distance(missing, b));
  return nearest === undefined ? '' : `; the nearest that it has is ${nearest}`;
}
