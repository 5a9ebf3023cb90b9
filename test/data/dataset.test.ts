import { describe, expect, it } from 'vitest';
import { assembleDataset, buildDataset, holdOut, rng, type Example } from 'graft';

/** An example of `length` tokens that are all `id`, the first half without a loss. */
function example(length: number, id: number, line = id): Example {
  const inputIds = new Int32Array(length).fill(id);
  const labels = inputIds.map((each, i) => (i < length / 2 ? -100 : each));
  return { inputIds, labels, info: { file: '/data.jsonl', line, fullLength: length + 1, truncated: 1, endOfTurnTrained: true } };
}

const parts = { input: undefined, eval: [], maxLength: 8, packing: false, badRows: 0 } as const;

describe('assembleDataset', () => {
  it('makes every example a sequence of its own without packing, in the order given', () => {
    const { train, info } = assembleDataset({ ...parts, train: [example(3, 1), example(8, 2), example(2, 3)] });
    expect(train.map((packed) => [...packed.offsets])).toEqual([[0, 3], [0, 8], [0, 2]]);
    expect(info.map((each) => each.line)).toEqual([1, 2, 3]);
  });

  it('keeps tokens, labels and info together when it packs', () => {
    const examples = [example(3, 1), example(8, 2), example(2, 3), example(5, 4)];
    const { train, info } = assembleDataset({ ...parts, packing: true, train: examples });
    expect(train.map((packed) => [...packed.offsets])).toEqual([[0, 8], [0, 5, 8], [0, 2]]);
    expect(info.map((each) => each.line)).toEqual([2, 4, 1, 3]);
    const second = train[1]!;
    expect([...second.inputIds]).toEqual([4, 4, 4, 4, 4, 1, 1, 1]);
    expect([...second.labels]).toEqual([-100, -100, -100, 4, 4, -100, -100, 1]);
  });

  it('counts tokens, trained tokens, truncated examples and bad rows', () => {
    expect(assembleDataset({ ...parts, badRows: 2, train: [example(3, 1), example(8, 2)] }).stats).toEqual({ examples: 2, tokens: 11, trainedTokens: 5, truncatedExamples: 2, badRows: 2 });
  });

  it('comes after the dataset of the entry before, in everything', () => {
    const input = assembleDataset({ ...parts, train: [example(4, 1)], eval: [example(2, 9)], badRows: 1 });
    const both = assembleDataset({ ...parts, input, train: [example(6, 2)], eval: [example(2, 8)], badRows: 2 });
    expect(both.train.map((packed) => packed.inputIds[0])).toEqual([1, 2]);
    expect(both.eval.map((packed) => packed.inputIds[0])).toEqual([9, 8]);
    expect(both.info.map((each) => each.line)).toEqual([1, 2]);
    expect(both.evalInfo?.map((each) => each.line)).toEqual([9, 8]);
    expect(both.stats).toEqual({ examples: 2, tokens: 10, trainedTokens: 5, truncatedExamples: 2, badRows: 3 });
  });
});

describe('pairs', () => {
  const chosen = example(3, 1, 1);
  const rejected = example(2, 2, 1);
  const pairs = { ...parts, preferences: true } as const;
  /** Twenty rows: the preferred half has the row's number, the other a thousand more. */
  const many = Array.from({ length: 20 }, (_, row) => [example(3, row, row), example(2, 1000 + row, row)]).flat();
  const tokenised = (examples: readonly Example[]) => ({ examples, badRows: { count: 0, reasons: [] }, notes: [] });
  const firstTokens = (side: readonly { readonly inputIds: Int32Array; readonly offsets: Int32Array }[]) => side.map(({ inputIds, offsets }) => [inputIds[0]!, inputIds[offsets[1]!]!]);

  it('are sequences of two segments, the preferred one first', () => {
    const { train, info, stats, preferences } = assembleDataset({ ...pairs, train: [chosen, rejected, rejected, chosen] });
    expect(preferences).toBe(true);
    expect(train.map((packed) => [...packed.offsets])).toEqual([[0, 3, 5], [0, 2, 5]]);
    expect([...train[0]!.inputIds]).toEqual([1, 1, 1, 2, 2]);
    expect([...train[0]!.labels]).toEqual([-100, -100, 1, -100, 2]);
    expect([info.length, stats.examples]).toEqual([4, 4]);
  });

  it('stay together when they are split and shuffled', () => {
    const { train, eval: held, preferences } = buildDataset(tokenised(many), undefined, { evalSplit: 0.25, shuffle: true, random: (purpose) => rng(1, purpose) }, pairs);
    expect(preferences).toBe(true);
    expect([train.length, held.length]).toEqual([15, 5]);
    const halves = firstTokens([...train, ...held]);
    for (const [first, second] of halves) expect(second).toBe(first! + 1000);
    expect(halves.map(([first]) => first).sort((a, b) => a! - b!)).toEqual(Array.from({ length: 20 }, (_, row) => row));
    expect(firstTokens(train).map(([first]) => first)).not.toEqual(firstTokens(train).map(([first]) => first).sort((a, b) => a! - b!));
  });

  it('stay together where all rows stand in one line', () => {
    const oneLine = many.map(({ inputIds, labels, info }) => ({ inputIds, labels, info: { ...info, line: 1 } }));
    const { train, eval: held } = buildDataset(tokenised(oneLine), undefined, { evalSplit: 4, shuffle: false, random: (purpose) => rng(1, purpose) }, pairs);
    expect([train.length, held.length]).toEqual([16, 4]);
    for (const [first, second] of firstTokens([...train, ...held])) expect(second).toBe(first! + 1000);
  });

  it('follow pairs, and never examples that are none, nor the other way round', () => {
    const input = assembleDataset({ ...pairs, train: [chosen, rejected] });
    expect(assembleDataset({ ...pairs, input, train: [chosen, rejected] })).toMatchObject({ preferences: true, stats: { examples: 4 } });
    const mixed = (message: string) => expect.objectContaining({ code: 'PREFERENCES_MIXED', option: ['data'], message, hint: 'Leave one of the two out, or train on each in a run of its own.' }) as Error;
    expect(() => assembleDataset({ ...parts, input, train: [chosen] })).toThrow(mixed('This preprocess entry makes single examples, and the entry before it pairs of a preferred completion and another: one run cannot train on both.'));
    const single = assembleDataset({ ...parts, train: [chosen] });
    expect('preferences' in single).toBe(false);
    expect(() => assembleDataset({ ...pairs, input: single, train: [chosen, rejected] })).toThrow(mixed('This preprocess entry makes pairs of a preferred completion and another, and the entry before it single examples: one run cannot train on both.'));
  });

  it('are neither packed nor halved', () => {
    expect(() => assembleDataset({ ...pairs, packing: true, train: [chosen, rejected] })).toThrow('A pair is a sequence of its own, so pairs are not packed.');
    expect(() => assembleDataset({ ...pairs, train: [chosen, rejected, chosen] })).toThrow('Pairs have two halves each, and there are 3.');
  });
});

describe('holdOut', () => {
  const held = (count: number, share: number, seed: number): readonly number[] => holdOut(count, share, (indices) => rng(seed, 'split').shuffle(indices)).eval;

  it('holds a share or a number out, the same for the same seed', () => {
    expect(held(100, 0.1, 1)).toHaveLength(10);
    expect(held(100, 7, 1)).toHaveLength(7);
    expect(held(5, 0.01, 1)).toHaveLength(1);
    expect(held(100, 0.1, 1)).toEqual(held(100, 0.1, 1));
    expect(held(100, 0.1, 2)).not.toEqual(held(100, 0.1, 1));
  });

  it('puts every row on exactly one side, in its order', () => {
    const { train, eval: out } = holdOut(50, 0.3, (indices) => rng(3).shuffle(indices));
    expect([...train, ...out].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, index) => index));
    expect([...train]).toEqual([...train].sort((a, b) => a - b));
    expect(holdOut(3, 0, (indices) => indices)).toEqual({ train: [0, 1, 2], eval: [] });
  });

  it('refuses a split that leaves nothing to train on, and half a row', () => {
    expect(() => held(3, 3, 1)).toThrow('eval_split: 3 would hold 3 of 3 out for evaluation: nothing is left to train on.');
    expect(() => held(1, 0.1, 1)).toThrow('eval_split: 0.1 would hold 1 of 1 out');
    expect(() => held(9, 2.5, 1)).toThrow('eval_split: 2.5 is neither a share below 1 nor a whole number of rows.');
  });
});

describe('buildDataset', () => {
  const tokenised = (examples: readonly Example[]) => ({ examples, badRows: { count: 0, reasons: [] }, notes: [] });
  const options = { evalSplit: 0.5, shuffle: false, random: (purpose: string) => rng(1, purpose) };

  it('holds all examples of a row out together', () => {
    const examples = Array.from({ length: 40 }, (_, index) => example(2, index, Math.floor(index / 4)));
    const { info, evalInfo } = buildDataset(tokenised(examples), undefined, options, parts);
    expect(evalInfo).toHaveLength(20);
    const trainRows = new Set(info.map((each) => each.line));
    expect(evalInfo!.filter((each) => trainRows.has(each.line))).toEqual([]);
  });

  it('splits the examples themselves where all came of one row', () => {
    const { info, evalInfo } = buildDataset(tokenised(Array.from({ length: 10 }, (_, index) => example(2, index, 1))), undefined, options, parts);
    expect([info.length, evalInfo!.length]).toEqual([5, 5]);
  });

  it('shuffles by seed, and adds files to evaluate on to what is held out', () => {
    const examples = Array.from({ length: 30 }, (_, index) => example(2, index));
    const order = (seed: number): readonly number[] => buildDataset(tokenised(examples), tokenised([example(2, 99)]), { evalSplit: 0, shuffle: true, random: (purpose) => rng(seed, purpose) }, parts).info.map((each) => each.line);
    expect(order(1)).toEqual(order(1));
    expect(order(1)).not.toEqual(order(2));
    expect([...order(1)].sort((a, b) => a - b)).toEqual(examples.map((each) => each.info.line));
    expect(buildDataset(tokenised(examples), tokenised([example(2, 99)]), { ...options, evalSplit: 2 }, parts).evalInfo!.map((each) => each.line).at(-1)).toBe(99);
  });

  it('says that there is nothing to train on, and why', () => {
    const none = { examples: [], badRows: { count: 2, reasons: ['/d.jsonl:1: x'] }, notes: [] };
    expect(() => buildDataset(none, undefined, options, parts)).toThrow('The data holds no example to train on; 2 bad rows were left out, the first: /d.jsonl:1: x.');
    const empty = { examples: [], badRows: { count: 0, reasons: [] }, notes: [] };
    expect(() => buildDataset(empty, undefined, options, parts)).toThrow(expect.objectContaining({ code: 'NO_EXAMPLES', option: ['data'], hint: 'There is no row in its files.' }));
    expect(() => buildDataset(tokenised([example(2, 1)]), { ...empty, notes: ['All was cut.'] }, options, parts)).toThrow(expect.objectContaining({ message: 'eval_data holds no example to evaluate on.', option: ['eval_data'], hint: 'All was cut.' }));
  });
});
