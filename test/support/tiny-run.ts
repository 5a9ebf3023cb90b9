/** A model folder, text and a config small enough that a whole run takes a second: the oracles' base with a tokenizer of single characters. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';

const BASE = fileURLToPath(new URL('../oracles/peft/', import.meta.url));
const CHARACTERS = [...'\n .,!?\':-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'];
const SPECIAL = ['<unk>', '<s>', '</s>'];

/** Writes a Hugging Face folder: 2 layers, hidden 32, vocabulary 64. */
export function writeTinyModel(dir: string): void {
  mkdirSync(dir, { recursive: true });
  copyFileSync(join(BASE, 'base_config.json'), join(dir, 'config.json'));
  copyFileSync(join(BASE, 'base.safetensors'), join(dir, 'model.safetensors'));
  const vocab = Object.fromEntries([...SPECIAL, ...CHARACTERS].map((token, id) => [token, id]));
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'Fuse' },
    model: { type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges: [] },
  };
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', tokenizer_class: 'PreTrainedTokenizerFast' }));
}

/** Sentences that a seedless rule makes: the same on every machine, with something to learn in them. */
export function tinyText(documents: number): string {
  const subjects = ['the cat', 'a dog', 'the old man', 'my friend', 'a bird'];
  const verbs = ['sees', 'likes', 'finds', 'follows'];
  const objects = ['the sea', 'a red ball', 'the moon', 'some bread', 'an apple', 'the road', 'a song'];
  return Array.from({ length: documents }, (_, i) => `${subjects[i % 5]} ${verbs[(i * 3) % 4]} ${objects[(i * 5) % 7]}.`).join('\n\n');
}

export interface TinyRunOptions {
  readonly train?: Readonly<Record<string, unknown>>;
  readonly inject?: readonly Readonly<Record<string, unknown>>[];
  readonly preprocess?: Readonly<Record<string, unknown>>;
  /** Laid over the whole. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

/**
 * Writes model, text and `config.yaml` into a folder.
 * @returns the config's path
 */
export function writeTinyRun(dir: string, { train, inject, preprocess, extra }: TinyRunOptions = {}): string {
  writeTinyModel(join(dir, 'model'));
  writeFileSync(join(dir, 'text.txt'), tinyText(40));
  const config = {
    name: 'tiny',
    engine: 'portable',
    seed: 11,
    runs_dir: './runs',
    load: { use: 'llama', model: './model' },
    preprocess: [{ use: 'text', data: './text.txt', separator: '\n\n', max_length: 64, eval_split: 8, ...preprocess }],
    inject: inject ?? [{ use: 'lora', r: 4, lora_alpha: 8, target_modules: ['q_proj', 'v_proj', 'down_proj'], lora_dropout: 0.1 }],
    train: { use: 'sft', epochs: 2, batch_size: 4, learning_rate: 5e-3, save_steps: 3, eval_steps: 4, ...train },
    ...extra,
  };
  const path = join(dir, 'config.yaml');
  writeFileSync(path, stringify(config));
  return path;
}
