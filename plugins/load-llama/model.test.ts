import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { positionsOf, tf, type CausalLM, type PackedBatch } from 'graft';
import { generate } from '../../core/tensor/generate.ts';
import { batchOf, checkpoint, readJson } from '../../test/support/checkpoint.ts';
import { loadFolder, oracleDir, sharedDir } from '../../test/support/model.ts';

interface Io {
  readonly input_ids: number[][];
  readonly labels: number[][];
  readonly logits: number[][][];
  readonly loss: number;
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
}

const logitsOf = (model: CausalLM, batch: PackedBatch) => tf.tidy(() => model.logits(model.forward(batch)).dataSync());

/** Mean over the predictions that have a label. */
function meanLoss(model: CausalLM, batch: PackedBatch): number {
  const losses = [...tf.tidy(() => model.loss(batch).dataSync())].filter((loss) => loss !== 0);
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

async function base(): Promise<Io> {
  const { base_logits, base_loss, ...rest } = (await readJson(join(oracleDir(), 'peft/base_io.json'))) as Io & { base_logits: number[][][]; base_loss: number };
  return { ...rest, logits: base_logits, loss: base_loss };
}

describe('a Llama computes what transformers computes', () => {
  it.each(['peft', 'llama3_rope', 'linear_rope', 'biases_tied_sharded', 'mistral_window'])('%s', async (name) => {
    const io = name === 'peft' ? await base() : ((await readJson(join(oracleDir(), 'llama', name, 'io.json'))) as Io);
    const { model } = await loadFolder(await checkpoint(name));
    const batch = batchOf(io);
    expect(largestDifference(logitsOf(model, batch), io.logits.flat(2))).toBeLessThan(2e-5);
    expect(Math.abs(meanLoss(model, batch) - io.loss)).toBeLessThan(1e-5);
    model.dispose();
  });
});

describe('packing', () => {
  it('gives a sequence the logits that it has alone, whatever stands beside it', async () => {
    const { model } = await loadFolder(await checkpoint('mistral_window'));
    const ids = Int32Array.from({ length: 30 }, (_, i) => 3 + ((i * 7) % 37));
    const offsets = Int32Array.of(0, 1, 12, 30);
    const together = logitsOf(model, { inputIds: ids, labels: ids, offsets, positions: positionsOf(offsets) });
    const alone = [0, 1, 2].flatMap((segment) => {
      const part = ids.slice(offsets[segment], offsets[segment + 1]);
      const whole = Int32Array.of(0, part.length);
      return [...logitsOf(model, { inputIds: part, labels: part, offsets: whole, positions: positionsOf(whole) })];
    });
    expect(largestDifference(together, alone)).toBeLessThan(1e-5);
    model.dispose();
  });

  it('asks the output layer only about rows that were chosen, in any order', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const batch = batchOf(await base());
    const all = logitsOf(model, batch);
    const rows = Int32Array.of(15, 0, 1, 7);
    const chosen = tf.tidy(() => model.logits(model.forward(batch), { rows, offsets: batch.offsets }).dataSync());
    expect(largestDifference(chosen, [...rows].flatMap((row) => [...all.subarray(row * 64, row * 64 + 64)]))).toBeLessThan(1e-6);
    model.dispose();
  });
});

describe('a key-value cache', () => {
  it.each(['llama3_rope', 'mistral_window'])('continues %s with the logits of the whole sequence', async (name) => {
    const { model } = await loadFolder(await checkpoint(name));
    const rows = ((await readJson(join(oracleDir(), 'llama', name, 'io.json'))) as Io).input_ids;
    const whole = logitsOf(model, batchOf({ input_ids: rows, labels: rows }));
    const caches = rows.map(() => model.createCache());
    const held = tf.memory().numTensors;
    for (const [start, end] of [[0, 5], [5, 6], [6, 20], [20, 28]] as const) {
      const parts = rows.map((row) => row.slice(start, end));
      const batch = batchOf({ input_ids: parts, labels: parts });
      const logits = tf.tidy(() => model.logits(model.forward({ ...batch, positions: batch.positions.map((position) => position + start) }, { caches })).dataSync());
      const expected = rows.flatMap((_, row) => [...whole.subarray((row * 28 + start) * 40, (row * 28 + end) * 40)]);
      expect(largestDifference(logits, expected)).toBeLessThan(1e-5);
      expect(caches.map((cache) => cache.length)).toEqual([end, end]);
    }
    caches.forEach((cache) => cache.dispose());
    expect(tf.memory().numTensors).toBe(held);
    model.dispose();
  });

  it('is left as it was by a pass that fails', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const cache = model.createCache();
    const step = (ids: readonly number[], start: number) => tf.tidy(() => {
      const inputIds = Int32Array.from(ids);
      return model.logits(model.forward({ inputIds, labels: inputIds, offsets: Int32Array.of(0, ids.length), positions: inputIds.map((_, i) => start + i) }, { stack: 'failing', caches: [cache] })).dataSync();
    });
    const target = model.target('failing');
    step([3, 4], 0);
    const dispose = target.sites.get('model.layers.1.mlp')!.graft(() => {
      throw new Error('a broken strategy');
    });
    expect(() => step([5], 2)).toThrow('a broken strategy');
    void dispose();
    expect(cache.length).toBe(2);
    const after = step([5], 2);
    cache.dispose();
    const whole = step([3, 4, 5], 0);
    expect(largestDifference(after, whole.subarray(2 * 64))).toBeLessThan(1e-5);
    cache.dispose();
    model.dispose();
  });
});

describe('what a model refuses', () => {
  const pass = async (batch: Partial<PackedBatch>, options: Parameters<CausalLM['forward']>[1] = {}) => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const ids = Int32Array.of(1, 2, 3);
    try {
      tf.tidy(() => void model.loss({ inputIds: ids, labels: ids, positions: Int32Array.of(0, 1, 2), offsets: Int32Array.of(0, 3), ...batch }, options));
    } finally {
      model.dispose();
    }
  };

  it('a token outside the vocabulary', async () => {
    await expect(pass({ inputIds: Int32Array.of(1, 64, 3) })).rejects.toThrow('Token 64 at 1 is outside the vocabulary of 64.');
    await expect(pass({ labels: Int32Array.of(1, 2, 64) })).rejects.toThrow('Label 64 at 2 is outside the vocabulary of 64.');
  });

  it('offsets that do not fit the tokens, and empty segments', async () => {
    await expect(pass({ offsets: Int32Array.of(0, 2) })).rejects.toThrow('A batch of 3 tokens and 3 positions has offsets from 0 to 2; they must go from 0 to 3.');
    await expect(pass({ offsets: Int32Array.of(0, 2, 2, 3) })).rejects.toThrow('Segment 1 of a batch is empty: its offsets are 2 and 2.');
  });

  it('a stack that was never built, and as many stacks as there are no segments', async () => {
    await expect(pass({}, { stack: 'unknown' })).rejects.toThrow('The model has no stack "unknown".');
    await expect(pass({}, { stack: [undefined, undefined] })).rejects.toThrow('2 stacks were given for 1 segments.');
  });
});

describe.skipIf(sharedDir() === undefined)('a real model (skipped without ../shared/models)', () => {
  const dir = join(sharedDir() ?? '', 'models/stories260k');

  it('continues prompts token by token as transformers does, with their loss and text', async () => {
    expect(existsSync(dir)).toBe(true);
    const cases = (await readJson(join(oracleDir(), 'stories260k/greedy.json'))) as { prompt: string; input_ids: number[]; output_ids: number[]; text: string; loss: number }[];
    const { model, tokenizer } = await loadFolder(dir);
    expect(cases.length).toBe(6);
    for (const { prompt, input_ids, output_ids, text, loss } of cases) {
      expect([...tokenizer.encode(prompt)]).toEqual(input_ids);
      const made: number[] = [];
      for await (const { id } of generate(model, { inputIds: input_ids, maxTokens: output_ids.length })) made.push(id);
      expect(made).toEqual(output_ids);
      expect(tokenizer.decode(made)).toBe(text);
      expect(Math.abs(meanLoss(model, batchOf({ input_ids: [input_ids], labels: [input_ids] })) - loss)).toBeLessThan(1e-5);
    }
    model.dispose();
  });
});
