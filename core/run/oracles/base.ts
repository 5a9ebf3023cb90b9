import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CausalLM, PackedBatch } from '../../contracts/index.ts';
import { readJsonFile } from '../../tensor/json-file.ts';
import type { OracleHost } from './port.ts';
import { packRows, type Rows } from './rows.ts';

/** The base that all methods of a folder share, with the batch that they were run on. */
export interface OracleBase {
  readonly rows: Rows;
  readonly batch: PackedBatch;
  readonly expected: { readonly base_logits: number[][][]; readonly base_loss: number };
  /** A model of its own each time: merging changes one for good. */
  load(): Promise<CausalLM>;
}

/** @returns undefined where the folder has no `peft/base.safetensors` */
export async function openBase(dir: string, host: OracleHost): Promise<OracleBase | undefined> {
  const peft = join(dir, 'peft');
  const io = (await readJsonFile(join(peft, 'base_io.json'))) as (Rows & OracleBase['expected']) | undefined;
  const config = await readJsonFile(join(peft, 'base_config.json'));
  if (io === undefined || config === undefined) return undefined;
  return {
    rows: io,
    batch: packRows(io),
    expected: io,
    load: async () => {
      const folder = await mkdtemp(join(tmpdir(), 'graft-oracle-'));
      try {
        await writeFile(join(folder, 'config.json'), JSON.stringify(config));
        await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(numberTokenizer(Number(config['vocab_size']))));
        await cp(join(peft, 'base.safetensors'), join(folder, 'model.safetensors'));
        return (await host.load(folder)).model;
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}

/** The base has random weights and no words: its tokens are called by their numbers, so that its folder is a whole checkpoint. */
function numberTokenizer(size: number): unknown {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab: Object.fromEntries(Array.from({ length: size }, (_, id) => [String(id), id])), unk_token: '0' },
  };
}
