import { describe, expect, it } from 'vitest';
import { bench, markedPairs } from '../../test/support/preprocess.ts';
import { CHATML, tinyTokenizer } from '../../test/support/tokenizer.ts';
import preference from './index.ts';

const plainTokenizer = await tinyTokenizer();

/** Rows of prompt, chosen and rejected; with `template: auto` one token a character, BOS first and EOS last. */
function prepare(rows: readonly (readonly [string, string, string])[], tokenizer = plainTokenizer) {
  const { run, file, said } = bench(preference, { tokenizer });
  const data = file('data.jsonl', rows.map(([prompt, chosen, rejected]) => JSON.stringify({ prompt, chosen, rejected })).join('\n'));
  return { run: (options: Readonly<Record<string, unknown>> = {}, call = {}) => run({ data, ...options }, call), said };
}

const rows = [['ab', 'cd', 'e'], ['efgh', 'ijkl', 'mn']] as const;

describe('a pair', () => {
  it('is one sequence of two segments, each with the prompt, a completion to be trained on and its end', async () => {
    const { train, info, preferences, stats } = await prepare(rows).run();
    expect(preferences).toBe(true);
    expect(train.map((packed) => [...packed.offsets])).toEqual([[0, 6, 11], [0, 10, 18]]);
    expect(markedPairs(train, plainTokenizer)).toEqual([['<s>ab[cd</s>]', '<s>ab[e</s>]'], ['<s>efgh[ijkl</s>]', '<s>efgh[mn</s>]']]);
    expect(info.map(({ line, fullLength, truncated, endOfTurnTrained }) => [line, fullLength, truncated, endOfTurnTrained])).toEqual([[1, 6, 0, true], [1, 5, 0, true], [2, 10, 0, true], [2, 8, 0, true]]);
    expect(stats).toEqual({ examples: 4, tokens: 29, trainedTokens: 13, truncatedExamples: 0, badRows: 0 });
  });

  it('stays whole when pairs are split, shuffled and read from the cache', async () => {
    const { run, said } = prepare(Array.from({ length: 20 }, (_, row) => ['p', `c${row}`, `r${row}`] as const));
    for (const options of [{ shuffle: true, eval_split: 0.25 }, { shuffle: true, eval_split: 0.25, seed: 3 }]) {
      const { train, eval: held, evalInfo } = await run(options);
      expect([train.length, held.length, evalInfo!.length]).toEqual([15, 5, 10]);
      const numbers = markedPairs([...train, ...held], plainTokenizer).map((pair) => pair.map((half) => /\[[cr](\d+)</.exec(half)![1]));
      for (const [chosen, rejected] of numbers) expect(chosen).toBe(rejected);
      expect(new Set(numbers.map(([chosen]) => chosen)).size).toBe(20);
    }
    expect(said('info')).toHaveLength(1);
  });

  it('follows pairs, and does not follow single examples', async () => {
    const { run } = prepare(rows);
    const input = await run();
    expect((await run({}, { input })).train).toHaveLength(4);
    await expect(run({}, { input: { ...input, preferences: undefined } })).rejects.toMatchObject({ code: 'PREFERENCES_MIXED' });
  });
});

describe('max_length', () => {
  it('cuts each half at its end, and says of how many pairs', async () => {
    const { run, said } = prepare(rows);
    const { train, info } = await run({ max_length: 7 });
    expect(markedPairs(train, plainTokenizer)).toEqual([['<s>ab[cd</s>]', '<s>ab[e</s>]'], ['<s>efgh[ij]', '<s>efgh[mn]']]);
    expect(info.map(({ truncated, endOfTurnTrained }) => [truncated, endOfTurnTrained])).toEqual([[0, true], [0, true], [3, false], [1, false]]);
    expect(said()).toEqual(['1 of 2 pairs have a half that is longer than max_length 7 and were cut at their end; the longest has 10 tokens. They lost the token that ends an answer.']);
  });

  it('cuts as much from the beginning of both, so that the prompt stays the same, and keeps BOS', async () => {
    const { run, said } = prepare(rows);
    const { train, info } = await run({ max_length: 7, truncation: 'left' });
    expect(markedPairs(train, plainTokenizer)[1]).toEqual(['<s>h[ijkl</s>]', '<s>h[mn</s>]']);
    expect(info.slice(2).map(({ truncated }) => truncated)).toEqual([3, 3]);
    expect(said()).toEqual(['1 of 2 pairs have a half that is longer than max_length 7 and were cut at their beginning; the longest has 10 tokens.']);
  });

  it('leaves long pairs out, with truncation: skip', async () => {
    const { run, said } = prepare(rows);
    expect(markedPairs((await run({ max_length: 7, truncation: 'skip' })).train, plainTokenizer)).toEqual([['<s>ab[cd</s>]', '<s>ab[e</s>]']]);
    expect(said()).toEqual(['1 of 2 pairs have a half that is longer than max_length 7 and were left out; the longest has 10 tokens.']);
  });

  it('leaves a pair out of which a half has nothing to train on, or which no longer differs, and says that and not that it was cut', async () => {
    const left = '1 of 2 pairs were left out: within max_length 5 nothing to train on is left of a half of theirs, or nothing in which the halves differ. Raise it';
    const fits = ['a', 'b', 'cd'] as const;
    const short = prepare([fits, rows[1]]);
    expect((await short.run({ max_length: 5 })).train).toHaveLength(1);
    expect(short.said()).toEqual([`${left}, or set truncation: left.`]);
    const alike = prepare([fits, ['a', 'bbbc', 'bbbd']]);
    expect((await alike.run({ max_length: 5 })).train).toHaveLength(1);
    expect(alike.said()).toEqual([`${left}, or set truncation: left.`]);
    // What is cut off the longer half is more than all of the shorter.
    const uneven = prepare([fits, ['a', 'bbbbbbbbbb', 'c']]);
    expect((await uneven.run({ max_length: 5, truncation: 'left' })).train).toHaveLength(1);
    expect(uneven.said()).toEqual([`${left}.`]);
    // Beside one that was cut.
    const both = prepare(rows);
    expect((await both.run({ max_length: 5 })).train).toHaveLength(1);
    expect(both.said()).toEqual(['1 of 2 pairs have a half that is longer than max_length 5 and were cut at their end; the longest has 10 tokens. They lost the token that ends an answer.', `${left}, or set truncation: left.`]);
  });
});

describe('a chat template', () => {
  it('trains on the completions with their end token, and on no turn of the prompt', async () => {
    const tokenizer = await tinyTokenizer({ chatTemplate: CHATML });
    const { run, file } = bench(preference, { tokenizer });
    const row = { conversations: [{ from: 'human', value: 'A' }, { from: 'gpt', value: 'a' }, { from: 'human', value: 'B' }], chosen: { from: 'gpt', value: 'b' }, rejected: { from: 'gpt', value: 'c' } };
    const { train } = await run({ data: file('data.jsonl', JSON.stringify(row)) });
    const prompt = '<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nB<|im_end|>\n<|im_start|>assistant\n';
    expect(markedPairs(train, tokenizer)).toEqual([[`${prompt}[b<|im_end|>]\n`, `${prompt}[c<|im_end|>]\n`]]);
  });

  const refused = async (chatTemplate: string, chosen: string, rejected: string) => {
    const { run } = prepare([['A', chosen, rejected]], await tinyTokenizer({ chatTemplate }));
    return run({ template: 'chat' }).then(
      () => 'accepted',
      (error: Error) => /data\.jsonl:1: (.*)$/.exec(error.message)?.[1],
    );
  };

  it('refuses pairs that it makes the same, or whose prompt it writes in two ways', async () => {
    const trims = "{% for m in messages %}{{ m['content'] | trim }}</s>{% endfor %}";
    expect(await refused(trims, 'b', 'b ')).toBe('the two completions come to the same tokens, which teaches nothing.');
    // Begins a thought for the model to go on with, which only the one completion does.
    const thinks = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
    expect(await refused(thinks, '<think>\nb', 'c')).toBe('the chat template writes the prompt differently before the two completions, so they cannot be compared; use a text template.');
    const looksAhead = "{% for m in messages %}{% if loop.first %}{{ messages[-1]['content'] | length }}{% endif %}{{ m['content'] }}</s>{% endfor %}";
    expect(await refused(looksAhead, 'bb', 'c')).toBe('the chat template renders turn 2 differently once later turns follow, so what is to be trained on cannot be told; use a text template.');
  });
});
