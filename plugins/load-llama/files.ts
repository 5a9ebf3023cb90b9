/** The files of a Hugging Face model folder that a fine-tuned copy needs too. */
import { GraftError, INDEX_FILE, readJsonFile, WEIGHTS_FILE } from 'graft';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

export const CONFIG_FILE = 'config.json';
export const GENERATION_FILE = 'generation_config.json';
export const TOKENIZER_FILE = 'tokenizer.json';
export const TOKENIZER_CONFIG_FILE = 'tokenizer_config.json';
export const CHAT_TEMPLATE_FILE = 'chat_template.jinja';

/** Config and tokenizer, everything but weights. */
export const COMPANION_FILES: readonly string[] = [
  CONFIG_FILE,
  GENERATION_FILE,
  TOKENIZER_FILE,
  TOKENIZER_CONFIG_FILE,
  CHAT_TEMPLATE_FILE,
  'special_tokens_map.json',
  'added_tokens.json',
  'tokenizer.model',
  'vocab.json',
  'merges.txt',
];

export { INDEX_FILE, WEIGHTS_FILE };

/** Weights in Python's pickle, which runs code when it is read. */
export function isPickle(file: string): boolean {
  return /\.(bin|pt|pth|ckpt)$/.test(file) && !file.startsWith('training_args') && !file.startsWith('optimizer');
}

/** What to do about a checkpoint that has no safetensors. */
export function noSafetensors(where: string, files: readonly string[]): GraftError {
  const pickle = files.find(isPickle);
  return new GraftError(
    'MODEL_WEIGHTS_MISSING',
    pickle === undefined ? `${where} has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}.` : `${where} has its weights in ${pickle} only, a Python pickle that could run code when read.`,
    {
      option: ['model'],
      hint: pickle === undefined ? 'The folder must be a whole checkpoint in Hugging Face format.' : 'Convert it once in Python: AutoModelForCausalLM.from_pretrained(path).save_pretrained(other_path, safe_serialization=True).',
    },
  );
}

/**
 * A JSON file of the folder that must be there.
 * @throws GraftError `MODEL_FILE_MISSING`
 */
export async function requireJson(dir: string, file: string): Promise<Readonly<Record<string, unknown>>> {
  const value = await readJsonFile(join(dir, file));
  if (value === undefined) throw new GraftError('MODEL_FILE_MISSING', `${dir} has no ${file}.`, { option: ['model'], hint: 'The folder must be a whole checkpoint in Hugging Face format.' });
  return value;
}

/** Those of the companion files that a folder has. */
export async function companionsIn(dir: string): Promise<readonly string[]> {
  const present = new Set(await readdir(dir));
  return COMPANION_FILES.filter((file) => present.has(file));
}
