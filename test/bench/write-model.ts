/**
 * Writes a Llama of random bfloat16 weights in shards, of the shape of a known one, to measure loading and training with:
 * `node --import tsx test/bench/write-model.ts SHAPE FOLDER`. Its tokenizer is the quickstart's, which has fewer tokens than the model.
 */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { writeShardedSafetensors, type TensorToWrite } from '../../core/tensor/safetensors-writer.ts';
import { parameterShapes, type ParameterShape } from '../../plugins/load-llama/architecture.ts';
import { parseConfig } from '../../plugins/load-llama/config.ts';

/** [hidden, intermediate, layers, heads, key-value heads, vocabulary, tied embeddings] */
const SHAPES: Readonly<Record<string, readonly [number, number, number, number, number, number, boolean]>> = {
  tiny: [64, 176, 2, 4, 2, 1035, true],
  '135m': [576, 1536, 30, 9, 3, 49152, true],
  'llama-160m': [768, 3072, 12, 12, 12, 32000, false],
  'tinyllama-1.1b': [2048, 5632, 22, 32, 4, 32000, false],
  'llama2-7b': [4096, 11008, 32, 32, 32, 32000, false],
};
export const MODEL_SHAPES: readonly string[] = Object.keys(SHAPES);

const SHARD_BYTES = 2e9;
const DEVIATION = 0.02;
const QUICKSTART = join(dirname(fileURLToPath(import.meta.url)), '../../configs/quickstart/model');

/** @throws Error for a shape that has no name here */
export async function writeModel(shape: string, dir: string): Promise<void> {
  const sizes = SHAPES[shape];
  if (sizes === undefined) throw new Error(`There is no shape ${shape}; there are ${MODEL_SHAPES.join(', ')}.`);
  const [hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, vocab_size, tie_word_embeddings] = sizes;
  const quickstart = JSON.parse(await readFile(join(QUICKSTART, 'config.json'), 'utf8')) as Record<string, unknown>;
  const config = { ...quickstart, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, vocab_size, tie_word_embeddings, max_position_embeddings: 4096, torch_dtype: 'bfloat16' };
  await mkdir(dir, { recursive: true });
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) await copyFile(join(QUICKSTART, name), join(dir, name));
  await writeFile(join(dir, 'config.json'), JSON.stringify(config, null, 1));
  const fill = normalFiller();
  const tensors = parameterShapes(parseConfig('config.json', config)).map((parameter) => tensorOf(parameter, fill));
  await writeShardedSafetensors(dir, tensors, SHARD_BYTES);
}

/** Matrices at random, norms of 1; the bytes are made when they are written. */
function tensorOf({ name, shape }: ParameterShape, fill: (values: Uint16Array) => void): TensorToWrite {
  const one = 0x3f80;
  return {
    name,
    shape,
    dtype: 'BF16',
    bytes: () => {
      const values = new Uint16Array(shape.reduce((product, n) => product * n, 1));
      if (shape.length === 1) values.fill(one);
      else fill(values);
      return new Uint8Array(values.buffer);
    },
  };
}

/** Writes numbers of a normal distribution in bfloat16: 16 random bits pick one of 65,536 that were drawn once (Box and Muller 1958). */
function normalFiller(): (values: Uint16Array) => void {
  const drawn = new Uint16Array(2 ** 16);
  for (let i = 0; i < drawn.length; i++) {
    const radius = Math.sqrt(-2 * Math.log((i + 0.5) / drawn.length));
    // Turned by the golden ratio each time, angles are spread evenly.
    const angle = 2 * Math.PI * ((i * 0.6180339887498949) % 1);
    drawn[i] = new Uint32Array(new Float32Array([DEVIATION * radius * Math.cos(angle)]).buffer)[0]! >>> 16;
  }
  let state = 0x9e3779b9 | 0;
  return (values) => {
    for (let i = 0; i < values.length; i += 2) {
      // Marsaglia's xorshift (2003).
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      values[i] = drawn[state & 0xffff]!;
      values[i + 1] = drawn[state >>> 16]!;
    }
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [shape, dir] = process.argv.slice(2);
  if (shape === undefined || dir === undefined) throw new Error(`Usage: write-model.ts SHAPE FOLDER, with one of the shapes ${MODEL_SHAPES.join(', ')}.`);
  await writeModel(shape, dir);
}
