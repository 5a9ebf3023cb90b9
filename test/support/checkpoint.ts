import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { SafetensorsFile, writeSafetensors, type PackedBatch, type TensorToWrite } from '../../core/index.ts';
import { positionsOf } from '../../core/tensor/packed.ts';
import { oracleDir } from './model.ts';

type Json = Record<string, unknown>;

/** What `peft/base_io.json` and the `io.json` of other shapes have in common. */
interface Recorded {
  readonly input_ids: readonly number[][];
  readonly labels: readonly number[][];
}

/** A folder that goes when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'graft-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Tokens that are called by their numbers. */
export function numberTokenizer(size: number): Json {
  const vocab = Object.fromEntries(Array.from({ length: size }, (_, id) => [String(id), id]));
  return { version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: { type: 'WhitespaceSplit' }, post_processor: null, decoder: null, model: { type: 'WordLevel', vocab, unk_token: '0' } };
}

/** A folder of test/oracles/llama, or the base of the oracles, as a whole checkpoint; `config` may change or delete (undefined) keys. */
export async function checkpoint(from: 'peft' | (string & {}), config: Json = {}): Promise<string> {
  const dir = await temporaryFolder();
  if (from === 'peft') {
    await cp(join(oracleDir(), 'peft/base.safetensors'), join(dir, 'model.safetensors'));
    await cp(join(oracleDir(), 'peft/base_config.json'), join(dir, 'config.json'));
  } else {
    await cp(join(oracleDir(), 'llama', from), dir, { recursive: true });
  }
  const edited = { ...((await readJson(join(dir, 'config.json'))) as Json), ...config };
  await writeFile(join(dir, 'config.json'), JSON.stringify(edited));
  await writeFile(join(dir, 'tokenizer.json'), JSON.stringify(numberTokenizer(Number(edited['vocab_size'] ?? 64))));
  return dir;
}

/** Writes a checkpoint's weights again as the edit leaves them. */
export async function editWeights(dir: string, edit: (tensors: Map<string, TensorToWrite>) => void): Promise<void> {
  const path = join(dir, 'model.safetensors');
  const file = await SafetensorsFile.open(path);
  const tensors = new Map([...file.tensors.values()].map(({ name, dtype, shape }) => [name, tensor(name, shape, file.bytes(name).slice(), dtype)]));
  await file.close();
  edit(tensors);
  await writeSafetensors(path, tensors.values());
}

export function tensor(name: string, shape: readonly number[], bytes: Uint8Array, dtype: TensorToWrite['dtype'] = 'F32'): TensorToWrite {
  return { name, dtype, shape, bytes: () => bytes };
}

export async function readJson(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, 'utf8')) as unknown;
}

/** Rows of equal length, each a segment. */
export function batchOf({ input_ids: rows, labels }: Recorded): PackedBatch {
  const offsets = Int32Array.from({ length: rows.length + 1 }, (_, i) => i * rows[0]!.length);
  return { inputIds: Int32Array.from(rows.flat()), labels: Int32Array.from(labels.flat()), offsets, positions: positionsOf(offsets) };
}
