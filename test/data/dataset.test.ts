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
