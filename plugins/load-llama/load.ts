/** From a folder or a Hub id to a model with its tokenizer. */
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { GraftError, readJsonFile, type LoadedModel, type LoadedTokenizer, type StageCall } from 'graft';
import { readParameters, type ReadOptions } from './checkpoint.ts';
import { parseConfig, tokenIds, type LlamaConfig } from './config.ts';
import { companionsIn, CONFIG_FILE, GENERATION_FILE, requireJson } from './files.ts';
import type { Parts } from './hub-cache.ts';
import { fetchModel, isHubId } from './hub.ts';
import { LlamaModel } from './model.ts';
import type { LlamaOptions } from './options.ts';
import { randomParameters } from './random.ts';
import { LlamaTokenizer } from './tokenizer.ts';

const DEFAULT_REVISION = 'main';

type Call = Omit<StageCall<LlamaOptions>, 'engine'>;

/**
 * @param code hash of this plugin's code: it shapes tokens as much as a tokenizer's files do
 * @throws GraftError with option `model` for whatever is wrong with the checkpoint, by name
 */
export function loadLlama(call: StageCall<LlamaOptions>, code?: string): Promise<LoadedModel> {
  return blamingModel(async () => {
    // Weights are downloaded only after config and tokenizer were found good.
    const texts = await findCheckpoint(call, 'texts', call.config.revision);
    const { config, tokenizer } = await readTexts(texts.dir, call.config, code);
    if (Number(config.raw['attention_dropout'] ?? 0) > 0) call.log.warn(`${call.config.model} was pretrained with attention_dropout ${String(config.raw['attention_dropout'])}; it is trained on without.`);
    const random = call.config.init === 'random';
    if (random && !['auto', 'f32'].includes(call.config.dtype)) call.log.warn(`dtype: ${call.config.dtype} has no effect with init: random, whose weights are drawn and kept in f32.`);
    if (random && call.config.low_memory) call.log.warn('low_memory has no effect with init: random, whose weights are in no file.');
    else checkLowMemory(call);
    const { dir } = random || texts.commit === undefined ? texts : await findCheckpoint(call, 'all', texts.commit);
    const parameters = random ? randomParameters(config, call.engine, call.seed) : await readParameters(dir, config, call.engine, readOptions(call));
    return { model: new LlamaModel(config, call.engine, parameters, { name: call.config.model, dir, files: await companionsIn(dir) }), tokenizer };
  });
}

/** @throws GraftError `LOW_MEMORY` for an engine that maps nothing, or for a dtype that no checkpoint stores */
function checkLowMemory({ config, engine }: Pick<StageCall<LlamaOptions>, 'config' | 'engine'>): void {
  if (!config.low_memory) return;
  if (engine.mapsWeights !== true) {
    throw new GraftError('LOW_MEMORY', `Engine ${engine.info.name} can't leave weights in their files.`, { option: ['low_memory'], hint: 'Take engine: native, or leave low_memory out.' });
  }
  if (config.dtype === 'int8' || config.dtype === 'nf4') {
    throw new GraftError('LOW_MEMORY', `low_memory leaves weights as their files hold them, and dtype: ${config.dtype} would write them anew.`, { option: ['dtype'], hint: `Leave out one of the two. In ${config.dtype} a model takes ${config.dtype === 'nf4' ? 'a quarter' : 'half'} of the memory of bf16.` });
  }
}

function readOptions(call: StageCall<LlamaOptions>): ReadOptions {
  return { dtype: call.config.dtype, mapped: call.config.low_memory, signal: call.signal, progress: (done, total) => call.emit({ type: 'progress', label: 'weights', done, total, unit: 'bytes' }) };
}

/** The same without weights: nothing of them is read or downloaded. */
export function loadLlamaTokenizer(call: Call, code?: string): Promise<LoadedTokenizer> {
  return blamingModel(async () => readTexts((await findCheckpoint(call, 'texts', call.config.revision)).dir, call.config, code));
}

async function readTexts(dir: string, options: LlamaOptions, code: string | undefined): Promise<{ readonly config: LlamaConfig; readonly tokenizer: LlamaTokenizer }> {
  const raw = await requireJson(dir, CONFIG_FILE);
  const generation = (await readJsonFile(join(dir, GENERATION_FILE))) ?? {};
  const file = join(dir, CONFIG_FILE);
  const plain = parseConfig(file, raw, tokenIds(generation['eos_token_id']));
  const tokenizer = await LlamaTokenizer.read(dir, { bosTokenId: plain.bos_token_id, eosTokenIds: plain.eos_token_ids, chatTemplate: options.chat_template, code });
  return { config: parseConfig(file, raw, tokenizer.eosTokenIds), tokenizer };
}

interface Checkpoint {
  readonly dir: string;
  /** Of one on the Hub. */
  readonly commit?: string;
}

/** A folder as it is; what is no folder but could be a Hub id is downloaded. */
async function findCheckpoint(call: Call, parts: Parts, revision: string): Promise<Checkpoint> {
  const { model } = call.config;
  const dir = resolve(call.baseDir, model.startsWith('~/') ? join(homedir(), model.slice(2)) : model);
  const found = await stat(dir).catch(() => undefined);
  if (found?.isDirectory() === true) {
    if (revision !== DEFAULT_REVISION) call.log.warn(`revision: ${revision} has no effect: ${dir} is a folder, and only a model on the Hub has revisions.`);
    return { dir };
  }
  if (found !== undefined) throw new GraftError('MODEL_NOT_FOUND', `${dir} is a file; model must be the folder that holds config.json.`);
  if (!isHubId(model)) throw new GraftError('MODEL_NOT_FOUND', `${dir} does not exist.`, { hint: 'model is a folder, relative to the config file, or the id of a model on the Hugging Face Hub, such as owner/name.' });
  try {
    const snapshot = await fetchModel(model, revision, parts, call);
    return { dir: snapshot, commit: basename(snapshot) };
  } catch (error) {
    if (!GraftError.is(error) || error.code !== 'HUB_NOT_FOUND') throw error;
    throw new GraftError(error.code, `${error.message} There is no folder ${dir} either.`, { option: error.option, hint: error.hint, cause: error });
  }
}

/** Whatever is wrong with a checkpoint, the option that named it is where to look; or the one that asked for more than it can give. */
async function blamingModel<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if (!GraftError.is(error) || error.option !== undefined) throw error;
    const option = error.code === 'WEIGHT_MAPPED' ? 'low_memory' : error.code === 'WEIGHT_FREEZE' ? 'dtype' : 'model';
    throw new GraftError(error.code, error.message, { option: [option], hint: error.hint, cause: error.cause });
  }
}
