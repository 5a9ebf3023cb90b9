/** From a folder or a Hub id to a model with its tokenizer. */
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { GraftError, readJsonFile, type LoadedModel, type LoadedTokenizer, type StageCall } from 'graft';
import { readParameters } from './checkpoint.ts';
import { parseConfig, tokenIds, type LlamaConfig } from './config.ts';
import { companionsIn, CONFIG_FILE, GENERATION_FILE, requireJson } from './files.ts';
import { LlamaModel } from './model.ts';
import type { LlamaOptions } from './options.ts';
import { randomParameters } from './random.ts';
import { LlamaTokenizer } from './tokenizer.ts';

type Call = Omit<StageCall<LlamaOptions>, 'engine'>;

/** @throws GraftError with option `model` for whatever is wrong with the checkpoint, by name */
export function loadLlama(call: StageCall<LlamaOptions>): Promise<LoadedModel> {
  return blamingModel(async () => {
    const dir = await folderOf(call, 'all');
    const { config, tokenizer } = await readTexts(dir, call.config);
    const parameters = call.config.init === 'random' ? randomParameters(config, call.engine, call.seed) : await readParameters(dir, config, call.engine, {
      dtype: call.config.dtype,
      signal: call.signal,
      progress: (done, total) => call.emit({ type: 'progress', label: 'weights', done, total, unit: 'bytes' }),
    });
    return { model: new LlamaModel(config, call.engine, parameters, { name: call.config.model, dir, files: await companionsIn(dir) }), tokenizer };
  });
}

/** The same without weights: nothing of them is read or downloaded. */
export function loadLlamaTokenizer(call: Call): Promise<LoadedTokenizer> {
  return blamingModel(async () => readTexts(await folderOf(call, 'texts'), call.config));
}

async function readTexts(dir: string, options: LlamaOptions): Promise<{ readonly config: LlamaConfig; readonly tokenizer: LlamaTokenizer }> {
  const raw = await requireJson(dir, CONFIG_FILE);
  const generation = (await readJsonFile(join(dir, GENERATION_FILE))) ?? {};
  const file = join(dir, CONFIG_FILE);
  const plain = parseConfig(file, raw, tokenIds(generation['eos_token_id']));
  const tokenizer = await LlamaTokenizer.read(dir, { bosTokenId: plain.bos_token_id, eosTokenIds: plain.eos_token_ids, chatTemplate: options.chat_template });
  if (tokenizer.vocabSize > plain.vocab_size) {
    throw new GraftError('TOKENIZER', `${dir}: the tokenizer has ${tokenizer.vocabSize} tokens, and the model only ${plain.vocab_size}.`, { hint: 'The two are of different models.' });
  }
  return { config: parseConfig(file, raw, tokenizer.eosTokenIds), tokenizer };
}

/** The checkpoint's folder; a Hub id is downloaded first. */
async function folderOf(call: Call, _parts: 'all' | 'texts'): Promise<string> {
  const { model } = call.config;
  const dir = resolve(call.baseDir, model.startsWith('~/') ? join(homedir(), model.slice(2)) : model);
  const found = await stat(dir).catch(() => undefined);
  if (found?.isDirectory() === true) return dir;
  if (found !== undefined) throw new GraftError('MODEL_NOT_FOUND', `${dir} is a file; model must be the folder that holds config.json.`);
  throw new GraftError('MODEL_NOT_FOUND', `${dir} does not exist.`);
}

/** Whatever is wrong with a checkpoint, the option that named it is where to look. */
async function blamingModel<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if (!GraftError.is(error) || error.option !== undefined) throw error;
    throw new GraftError(error.code, error.message, { option: ['model'], hint: error.hint, cause: error.cause });
  }
}
