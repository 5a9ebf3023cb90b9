import { describe, expect, it } from 'vitest';
import { concatPacked, positionsOf, shiftLabels, trainedTokens } from '../../core/index.ts';

const packed = (inputIds: number[], labels: number[], offsets: number[]) => ({ inputIds: Int32Array.from(inputIds), labels: Int32Array.from(labels), offsets: Int32Array.from(offsets) });

describe('packed sequences', () => {
  it('count positions from 0 in each segment', () => {
    expect([...positionsOf(Int32Array.from([0, 3, 4, 6]))]).toEqual([0, 1, 2, 0, 0, 1]);
    expect([...positionsOf(Int32Array.from([0]))]).toEqual([]);
  });

  it('join with their segments kept apart', () => {
    const joined = concatPacked([packed([1, 2, 3], [1, -100, 3], [0, 2, 3]), packed([4, 5], [4, 5], [0, 2])]);
    expect([...joined.inputIds]).toEqual([1, 2, 3, 4, 5]);
    expect([...joined.labels]).toEqual([1, -100, 3, 4, 5]);
    expect([...joined.offsets]).toEqual([0, 2, 3, 5]);
    expect([...joined.positions]).toEqual([0, 1, 0, 0, 1]);
  });

  it('join to nothing from nothing', () => {
    const { inputIds, offsets } = concatPacked([]);
    expect([inputIds.length, ...offsets]).toEqual([0, 0]);
  });

  it('predict the next label within the segment, and nothing at its end', () => {
    const labels = Int32Array.from([10, 11, -100, 13, 14]);
    expect([...shiftLabels(labels, Int32Array.from([0, 3, 5]))]).toEqual([11, -100, -100, 14, -100]);
  });

  it('count as trained what is predicted: never the first token of a segment', () => {
    const example = packed([1, 2, 3, 4, 5], [10, 11, -100, 13, 14], [0, 3, 5]);
    expect(trainedTokens(example)).toBe(2);
    expect(trainedTokens(example)).toBe(shiftLabels(example.labels, example.offsets).filter((target) => target !== -100).length);
  });
});
