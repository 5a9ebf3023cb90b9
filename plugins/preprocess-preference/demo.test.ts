import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { bench, markedPairs } from '../../test/support/preprocess.ts';
import { tinyTokenizer } from '../../test/support/tokenizer.ts';
import preference from './index.ts';

const data = fileURLToPath(new URL('../../../shared/data/dpo_en_demo.json', import.meta.url));
const present = existsSync(data);
if (!present) console.warn('Skipped: ../shared is not here, so no pairs are made of its dpo_en_demo.json.');

describe.skipIf(!present)("LLaMA-Factory's dpo_en_demo.json", () => {
  it('is 300 pairs of one prompt each, in which the completions alone are trained on', async () => {
    const tokenizer = await tinyTokenizer();
    const { run, said } = bench(preference, { tokenizer });
    const { train, stats, preferences } = await run({ data, template: 'alpaca', max_length: 32768 });
    expect(preferences).toBe(true);
    expect(train).toHaveLength(300);
    expect(stats).toMatchObject({ examples: 600, truncatedExamples: 0, badRows: 0 });
    expect(said().filter((message) => !message.startsWith('max_length is'))).toEqual([]);
    for (const [chosen, rejected] of markedPairs(train, tokenizer)) {
      const [prompt, completion] = [chosen.slice(0, chosen.lastIndexOf('### Response:\n[')), chosen.slice(chosen.lastIndexOf('### Response:\n['))];
      expect(rejected.startsWith(`${prompt}### Response:\n[`)).toBe(true);
      expect(completion.endsWith('</s>]')).toBe(true);
      expect(rejected).not.toBe(chosen);
    }
    expect(markedPairs(train.slice(0, 1), tokenizer)[0]!.map((half) => half.slice(0, 172))).toEqual([
      "<s>### Instruction:\nHi! I'd like to create a new language game simulating the first person perspective of a character named Angela.\n\n### Response:\n[That sounds like a fun a",
      "<s>### Instruction:\nHi! I'd like to create a new language game simulating the first person perspective of a character named Angela.\n\n### Response:\n[Hello! I'd be happy to h",
    ]);
  });
});
