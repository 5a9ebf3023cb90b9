import { describe, expect, it } from 'vitest';
import { bench, marked } from '../../test/support/preprocess.ts';
import { tinyTokenizer } from '../../test/support/tokenizer.ts';
import instruct from './index.ts';

const tokenizer = await tinyTokenizer();

/** Rows through `template: plain`: one token a character, BOS first and EOS last. */
function prepare(rows: readonly (readonly [string, string])[], settings: { readonly longest?: number } = {}) {
  const { run, file, said } = bench(instruct, { tokenizer, ...settings });
  const data = file('data.jsonl', rows.map(([prompt, completion]) => JSON.stringify({ prompt, completion })).join('\n'));
  return { run: (options: Readonly<Record<string, unknown>>) => run({ data, ...options }), said, file };
}

const rows = [['ab', 'cd'], ['efgh', 'ijkl']] as const;

describe('max_length', () => {
  it('cuts the end off, end token included, and says what was cut of which example', async () => {
    const { run, said } = prepare(rows);
    const { train, info, stats } = await run({ max_length: 7 });
    expect(marked(train, tokenizer)).toEqual(['<s>ab[cd</s>]', '<s>efgh[ij]']);
    expect(info.map(({ line, fullLength, truncated, endOfTurnTrained }) => ({ line, fullLength, truncated, endOfTurnTrained }))).toEqual([
      { line: 1, fullLength: 6, truncated: 0, endOfTurnTrained: true },
      { line: 2, fullLength: 10, truncated: 3, endOfTurnTrained: false },
    ]);
    expect(stats).toEqual({ examples: 2, tokens: 13, trainedTokens: 5, truncatedExamples: 1, badRows: 0 });
    expect(said()).toEqual(['1 of 2 examples are longer than max_length 7 and were cut at their end; the longest has 10 tokens. They lost the token that ends the answer, and teach nothing about stopping.']);
  });

  it('cuts the beginning off and keeps BOS, with truncation: left', async () => {
    const { run, said } = prepare(rows);
    const { train, info } = await run({ max_length: 7, truncation: 'left' });
    expect(marked(train, tokenizer)[1]).toBe('<s>h[ijkl</s>]');
    expect(info[1]).toMatchObject({ truncated: 3, endOfTurnTrained: true });
    expect(said()).toEqual(['1 of 2 examples are longer than max_length 7 and were cut at their beginning; the longest has 10 tokens.']);
  });

  it('leaves long examples out, with truncation: skip', async () => {
    const { run, said } = prepare(rows);
    expect(marked((await run({ max_length: 7, truncation: 'skip' })).train, tokenizer)).toEqual(['<s>ab[cd</s>]']);
    expect(said()).toEqual(['1 of 2 examples are longer than max_length 7 and were left out; the longest has 10 tokens.']);
  });

  it('leaves an example out of which only the prompt is left, and says that and not that it was cut', async () => {
    const { run, said } = prepare(rows);
    expect((await run({ max_length: 5 })).train).toHaveLength(1);
    expect(said()).toEqual([
      '1 of 2 examples are longer than max_length 5 and were cut at their end; the longest has 10 tokens. They lost the token that ends the answer, and teach nothing about stopping.',
      '1 of 2 examples were left out: nothing to train on is left of them within max_length 5. Raise it, or set truncation: left.',
    ]);
  });

  it("is the model's longest sequence where it is not given, and warned of where it is longer", async () => {
    const short = prepare(rows, { longest: 8 });
    expect((await short.run({})).train.map((packed) => packed.inputIds.length)).toEqual([6, 8]);
    await short.run({ max_length: 16 });
    expect(short.said().at(-1)).toBe('max_length is 16, and the model was trained on sequences of at most 8 tokens.');
  });

  it('stops where no example is left at all', async () => {
    await expect(prepare(rows).run({ max_length: 2 })).rejects.toMatchObject({ code: 'NO_EXAMPLES', option: ['data'], message: 'The data holds no example to train on.', hint: expect.stringContaining('nothing to train on is left of them within max_length 2.') });
  });
});

describe('the dataset', () => {
  const many = Array.from({ length: 30 }, (_, index) => ['a'.repeat(1 + (index % 7)), 'b'.repeat(1 + (index % 5))] as const);

  it('is packed by best fit, every example a segment of its own', async () => {
    const { run } = prepare(many);
    const apart = await run({ max_length: 16 });
    const packed = await run({ max_length: 16, packing: true });
    const segments = packed.train.flatMap(({ inputIds, offsets }) => Array.from(offsets.subarray(1), (end, i) => inputIds.slice(offsets[i], end).join()));
    expect(segments.sort()).toEqual(apart.train.map((sequence) => sequence.inputIds.join()).sort());
    expect(packed.train.length).toBeLessThan(apart.train.length);
    for (const sequence of packed.train) expect(sequence.inputIds.length).toBeLessThanOrEqual(16);
    expect(packed.stats).toEqual(apart.stats);
  });

  it('holds the same examples out for the same seed, of the run or its own', async () => {
    const { run } = prepare(many);
    const held = async (options: object) => (await run({ eval_split: 0.2, ...options })).evalInfo!.map((info) => info.line);
    expect(await held({})).toHaveLength(6);
    expect(await held({})).toEqual(await held({}));
    expect(await held({ seed: 7 })).not.toEqual(await held({}));
    const { info, evalInfo } = await run({ eval_split: 4 });
    expect([...info, ...evalInfo!].map((each) => each.line).sort((a, b) => a - b)).toEqual(many.map((_, index) => index + 1));
  });

  it('evaluates on files of their own', async () => {
    const { run, file } = prepare(many);
    const eval_data = file('eval.jsonl', JSON.stringify({ prompt: 'x', completion: 'y' }));
    const { train, eval: held } = await run({ eval_data });
    expect([train.length, held.length]).toEqual([30, 1]);
    await expect(run({ eval_data, eval_split: 0.1 })).rejects.toMatchObject({ code: 'EVAL_SPLIT', option: ['eval_split'], message: 'eval_data and eval_split both say what to evaluate on.' });
  });

  it('comes in a random order by seed, with shuffle', async () => {
    const { run } = prepare(many);
    const lines = async (options: object) => (await run({ shuffle: true, ...options })).info.map((info) => info.line);
    expect(await lines({})).toEqual(await lines({}));
    expect(await lines({})).not.toEqual(await lines({ seed: 7 }));
    expect((await lines({})).sort((a, b) => a - b)).toEqual(many.map((_, index) => index + 1));
  });

  it('follows that of the entry before', async () => {
    const { run } = bench(instruct, { tokenizer });
    const other = bench(instruct, { tokenizer });
    const row = (completion: string) => JSON.stringify({ prompt: 'x', completion });
    const input = await other.run({ data: other.file('one.jsonl', row('one')) });
    const both = await run({ data: other.file('two.jsonl', row('two')) }, { input });
    expect(marked(both.train, tokenizer)).toEqual(['<s>x[one</s>]', '<s>x[two</s>]']);
    expect(both.stats.examples).toBe(2);
  });

  it('is cached apart for each generation of the plugin, and shared by what only lays it out', async () => {
    const { run, said, dir, file } = bench(instruct, { tokenizer });
    const data = file('data.jsonl', many.map(([prompt, completion]) => JSON.stringify({ prompt, completion })).join('\n'));
    const cacheDir = `${dir}/cache`;
    await run({ data });
    await run({ data, packing: true, eval_split: 0.5, shuffle: true, seed: 1 });
    expect(said('info')).toHaveLength(1);
    await run({ data, train_on: 'all' });
    expect(said('info')).toHaveLength(1);
    const edited = bench(instruct, { tokenizer, hash: 'b'.repeat(64) });
    await edited.run({ data }, { cacheDir });
    expect(edited.said('info')).toEqual([]);
    await edited.run({ data }, { cacheDir });
    expect(edited.said('info')).toHaveLength(1);
  });
});
