import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { bench } from '../../test/support/preprocess.ts';
import { readTokenizer } from '../../test/support/tokenizer.ts';
import instruct from './index.ts';

const shared = fileURLToPath(new URL('../../../shared/', import.meta.url));
const json = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
const present = existsSync(`${shared}models/stories260k/tokenizer.json`);
if (!present) console.warn('Skipped: ../shared is not here, so rows are not held against the stories260k oracle.');

interface Batch {
  readonly input_ids: readonly (readonly number[])[];
  readonly attention_mask: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
}

describe.skipIf(!present)('instruct, held against the rows that the reference was trained on', () => {
  it('makes the same tokens and labels of all 64 rows, cut at 256', async () => {
    const model = `${shared}models/stories260k/`;
    const tokenizer = await readTokenizer(model, [2]);
    const { batches } = json(`${shared}oracles/stories260k/lora_sft.json`) as { batches: readonly Batch[] };
    const rows = batches.flatMap((batch) =>
      batch.input_ids.map((ids, row) => {
        const length = batch.attention_mask[row]!.reduce((sum, seen) => sum + seen, 0);
        return { ids: ids.slice(0, length), labels: batch.labels[row]!.slice(0, length) };
      }),
    );
    const { run } = bench(instruct, { tokenizer });
    const { train, stats } = await run({ data: `${shared}data/alpaca_en_demo.json`, template: 'alpaca', max_length: 256, max_samples: rows.length });
    expect(train.map((packed) => ({ ids: [...packed.inputIds], labels: [...packed.labels] }))).toEqual(rows);
    expect(stats.examples).toBe(64);
    expect(stats.truncatedExamples).toBe(rows.filter((row) => row.labels.at(-1) !== 2).length);
  });
});
