/** Weights from a folder of safetensors into an engine. */
import { readdir } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { GraftError, SafetensorsFile, type Engine, type WeightDtype, type WeightSource } from 'graft';
import { EMBEDDING, LM_HEAD, parameterShapes, type ParameterShape } from './architecture.ts';
import type { LlamaConfig } from './config.ts';
import { INDEX_FILE, noSafetensors, WEIGHTS_FILE } from './files.ts';
import { LlamaParameter } from './parameter.ts';

export interface ReadOptions {
  /** How the engine keeps matrices; `auto`: as the checkpoint stores them. */
  readonly dtype: WeightDtype | 'auto';
  /** Leave matrices in their files, to be read as they are used. */
  readonly mapped: boolean;
  readonly signal: AbortSignal;
  /** Told after each tensor. */
  progress(doneBytes: number, totalBytes: number): void;
}

/** Written by old versions of transformers, computed from the config ever since. */
const COMPUTED = /\.rotary_emb\.inv_freq$/;
/** Types that are for linear layers alone: an embedding is looked up, and an output layer's rounding shows in every logit. */
const LINEAR_ONLY: readonly WeightDtype[] = ['int8', 'nf4'];

/**
 * Reads every tensor of the config into the engine, one at a time.
 * @returns by name, in the order of `parameterShapes`
 * @throws GraftError `MODEL_WEIGHTS_MISSING`, `MODEL_TENSOR_MISSING`, `MODEL_TENSOR_UNKNOWN` or `MODEL_TENSOR_SHAPE`, or what is wrong with a file
 */
export async function readParameters(dir: string, config: LlamaConfig, engine: Engine, options: ReadOptions): Promise<ReadonlyMap<string, LlamaParameter>> {
  const names = await readdir(dir);
  if (!names.includes(WEIGHTS_FILE) && !names.includes(INDEX_FILE)) throw noSafetensors(dir, names);
  const file = await SafetensorsFile.open(dir);
  const parameters = new Map<string, LlamaParameter>();
  try {
    const shapes = parameterShapes(config);
    checkTensors(file, shapes, config);
    const total = shapes.reduce((sum, { name }) => sum + file.tensors.get(name)!.bytes, 0);
    let done = 0;
    for (const { name } of shapes) {
      options.signal.throwIfAborted();
      const source = file.source(name);
      parameters.set(name, new LlamaParameter(engine, source, dtypeOf(source, options.dtype), { mapped: options.mapped }));
      done += file.tensors.get(name)!.bytes;
      options.progress(done, total);
      await nextTurn();
    }
    return parameters;
  } catch (error) {
    parameters.forEach((parameter) => parameter.dispose());
    throw error;
  } finally {
    await file.close();
  }
}

function dtypeOf({ name, dtype }: WeightSource, asked: WeightDtype | 'auto'): WeightDtype {
  const own = dtype.toLowerCase() as WeightDtype;
  if (asked === 'auto') return own;
  return LINEAR_ONLY.includes(asked) && (name === EMBEDDING || name === LM_HEAD) ? own : asked;
}

function checkTensors(file: SafetensorsFile, shapes: readonly ParameterShape[], config: LlamaConfig): void {
  const missing = shapes.filter(({ name }) => !file.tensors.has(name)).map(({ name }) => name);
  if (missing.length > 0) {
    throw new GraftError('MODEL_TENSOR_MISSING', `${file.path} has no tensor ${listed(missing)}.`, { option: ['model'], hint: 'config.json asks for it: the two are of different models, or the checkpoint is not whole.' });
  }
  for (const { name, shape } of shapes) {
    const found = file.tensors.get(name)!.shape;
    if (found.length === shape.length && found.every((size, axis) => size === shape[axis])) continue;
    throw new GraftError('MODEL_TENSOR_SHAPE', `${file.path}: ${name} is [${found.join(', ')}], and config.json asks for [${shape.join(', ')}].`, { option: ['model'] });
  }
  const known = new Set(shapes.map(({ name }) => name));
  const unknown = [...file.tensors.keys()].filter((name) => !known.has(name) && !COMPUTED.test(name));
  const tiedCopy = config.tie_word_embeddings ? unknown.indexOf(LM_HEAD) : -1;
  if (tiedCopy !== -1) {
    checkTiedCopy(file);
    unknown.splice(tiedCopy, 1);
  }
  if (unknown.length > 0) {
    throw new GraftError('MODEL_TENSOR_UNKNOWN', `${file.path} has ${listed(unknown)}, which a ${config.model_type} with this config.json does not have.`, {
      option: ['model'],
      hint: 'Nothing of a checkpoint is left out silently. If it is a bias, config.json must say attention_bias or mlp_bias.',
    });
  }
}

/** Some checkpoints hold the embedding twice; that is one weight only where both are the same. */
function checkTiedCopy(file: SafetensorsFile): void {
  const embedding = Buffer.from(file.bytes(EMBEDDING));
  if (embedding.equals(file.bytes(LM_HEAD))) return;
  throw new GraftError('MODEL_TENSOR_UNKNOWN', `${file.path} has an ${LM_HEAD} that differs from ${EMBEDDING}, but config.json says tie_word_embeddings.`, { option: ['model'], hint: 'Set tie_word_embeddings to false in config.json.' });
}

function listed(names: readonly string[]): string {
  return names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
}
