import { describe, expect, it } from 'vitest';
import type { CausalLM, Packed, PackedBatch } from '../../core/index.ts';
import { Batches, beginning, passesOf, weighty } from '../../core/training/batches.ts';
import { sft } from '../../plugins/train-sft/sft.ts';
import { settings as defaults } from '../support/training.ts';

/** A sequence of examples of these lengths; tokens and labels are all `id`. */
function sequence(id: number, ...lengths: readonly number[]): Packed {
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const offsets = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((sum, length) => sum + length, 0))]);
  return { inputIds: new Int32Array(tokens).fill(id), labels: new Int32Array(tokens).fill(id), offsets };
}

const idsOf = (sequences: readonly Packed[]): number[] => sequences.map(({ inputIds }) => inputIds[0]!);
const all = (batches: Batches): number[][] => Array.from({ length: batches.totalSteps }, (_, step) => idsOf(batches.at(step).sequences));
const ten = Array.from({ length: 10 }, (_, i) => sequence(i, 5));

describe('the batches of a run', () => {
  it('hold every sequence once an epoch, the last and smaller batch too', () => {
    const batches = new Batches('sft', ten, defaults({ batch_size: 4, epochs: 2 }), 1);
    expect(batches.totalSteps).toBe(6);
    expect(all(batches).map((ids) => ids.length)).toEqual([4, 4, 2, 4, 4, 2]);
    expect(all(batches).slice(0, 3).flat().sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(all(batches).slice(3).flat().sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('come in an order that the seed and the epoch decide, not what was asked before', () => {
    const settings = defaults({ batch_size: 2, epochs: 3 });
    const inOrder = all(new Batches('sft', ten, settings, 7));
    const fresh = new Batches('sft', ten, settings, 7);
    expect([12, 3, 14, 0].map((step) => idsOf(fresh.at(step).sequences))).toEqual([12, 3, 14, 0].map((step) => inOrder[step]));
    expect(inOrder.slice(0, 5)).not.toEqual(inOrder.slice(5, 10));
    expect(all(new Batches('sft', ten, settings, 8))).not.toEqual(inOrder);
  });

  it('are filled up to batch_tokens; a longer sequence is a batch of its own', () => {
    const sequences = [sequence(0, 4), sequence(1, 5), sequence(2, 20), sequence(3, 6), sequence(4, 3)];
    const batches = new Batches('sft', sequences, defaults({ batch_tokens: 10, epochs: 1 }), 3);
    const tokens = all(batches).map((ids) => ids.map((id) => sequences[id]!.inputIds.length));
    expect(tokens.flat().sort((a, b) => a - b)).toEqual([3, 4, 5, 6, 20]);
    for (const batch of tokens) if (batch.length > 1) expect(batch.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(10);
  });

  it('know how many epochs they are, fractions too', () => {
    const half = new Batches('sft', ten, defaults({ batch_size: 4, epochs: 1.5 }), 1);
    expect(half.totalSteps).toBe(5);
    expect(half.epochs).toBeCloseTo(1 + 2 / 3);
    expect(half.at(2)).toMatchObject({ epoch: 1, endsEpoch: true });
    expect(half.at(3)).toMatchObject({ epoch: 1 + 1 / 3, endsEpoch: false });
    expect(half.at(4)).toMatchObject({ endsEpoch: true });
    const part = new Batches('sft', ten, defaults({ batch_size: 1, epochs: 0.25 }), 1);
    expect(part.totalSteps).toBe(3);
    expect(new Batches('sft', ten, defaults({ batch_size: 1, epochs: 1.1 }), 1).totalSteps).toBe(11);
  });

  it('stop at max_steps, in the middle of an epoch or after many', () => {
    expect(new Batches('sft', ten, defaults({ batch_size: 4, max_steps: 2 }), 1)).toMatchObject({ totalSteps: 2, epochs: 2 / 3 });
    const many = new Batches('sft', ten, defaults({ batch_size: 4, max_steps: 7, epochs: 1 }), 1);
    expect(many).toMatchObject({ totalSteps: 7 });
    expect(many.epochs).toBeCloseTo(2 + 1 / 3);
    expect(many.at(6)).toMatchObject({ endsEpoch: true });
  });
});

describe('the batches after a swap', () => {
  const swapped = (settings: Parameters<typeof defaults>[0], step: number, next: Parameters<typeof defaults>[0]): Batches => new Batches('sft', ten, defaults(next), 1, new Batches('sft', ten, defaults(settings), 1).placeAt(step));
  const rest = (batches: Batches, from: number): number[][] => Array.from({ length: batches.totalSteps - from }, (_, i) => idsOf(batches.at(from + i).sequences));

  it.each([{ batch_size: 3, epochs: 2.5 }, { batch_size: 9, epochs: 0.6 }, { batch_tokens: 13, epochs: 2 }, { batch_size: 4, max_steps: 7 }])('of the same options are those that would have come: %o', (settings) => {
    const whole = new Batches('sft', ten, defaults(settings), 1);
    for (let step = 0; step <= whole.totalSteps; step++) {
      const batches = swapped(settings, step, settings);
      expect(rest(batches, step)).toEqual(all(whole).slice(step));
      expect(batches.epochs).toBeCloseTo(whole.epochs);
      if (step < whole.totalSteps) expect(batches.at(step).epoch).toBeCloseTo(whole.at(step).epoch);
      expect({ ...batches.placeAt(whole.totalSteps), share: 0 }).toEqual({ ...whole.placeAt(whole.totalSteps), share: 0 });
    }
  });

  it('of another size go on in the epoch: no sequence is left out of it, and none comes twice', () => {
    const before = new Batches('sft', ten, defaults({ batch_size: 2, epochs: 2 }), 1);
    const batches = swapped({ batch_size: 2, epochs: 2 }, 3, { batch_size: 3, epochs: 2 });
    const epoch = [...all(before).slice(0, 3), ...rest(batches, 3).slice(0, 2)];
    expect(epoch.map((ids) => ids.length)).toEqual([2, 2, 2, 3, 1]);
    expect(epoch.flat()).toEqual(all(before).slice(0, 5).flat());
    expect(batches.totalSteps).toBe(3 + 2 + 4);
    expect(batches.at(4)).toMatchObject({ epoch: 1, endsEpoch: true });
  });

  it('are none where the new config has been fulfilled already', () => {
    for (const next of [{ epochs: 1 }, { epochs: 1.1 }, { max_steps: 4 }]) expect(swapped({ batch_size: 2, epochs: 2 }, 6, { batch_size: 2, ...next })).toMatchObject({ totalSteps: 6 });
  });

  it('begin at the first epoch where the data is another, and the steps are counted on', () => {
    const batches = new Batches('sft', ten, defaults({ batch_size: 5, epochs: 2 }), 1, beginning(7));
    expect(batches.totalSteps).toBe(11);
    expect(rest(batches, 7)).toEqual(all(new Batches('sft', ten, defaults({ batch_size: 5, epochs: 2 }), 1)));
    expect(batches.at(7).epoch).toBeCloseTo(0.5);
  });
});

describe('the passes of a step', () => {
  const objective = sft({ loss: () => { throw new Error('no pass is computed'); } } satisfies Pick<CausalLM, 'loss'>);
  const microBatches = (sequences: readonly Packed[], maxTokens: number): PackedBatch[] => passesOf(objective, sequences, maxTokens).map(({ batch }) => batch);

  it('hold at most so many tokens, dividing a sequence between its examples', () => {
    const passes = microBatches([sequence(1, 3, 4), sequence(2, 6), sequence(3, 2)], 8);
    expect(passes.map(({ inputIds }) => [...inputIds])).toEqual([[1, 1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2, 3, 3]]);
    expect(passes.map(({ offsets }) => [...offsets])).toEqual([[0, 3, 7], [0, 6, 8]]);
    expect(microBatches([sequence(1, 3, 4, 2)], 5).map(({ offsets }) => [...offsets])).toEqual([[0, 3], [0, 4], [0, 2]]);
  });

  it('give one long example a pass of its own', () => {
    expect(microBatches([sequence(1, 2), sequence(2, 9), sequence(3, 2)], 4).map(({ inputIds }) => inputIds.length)).toEqual([2, 9, 2]);
  });

  it('leave out the silent examples of a sequence that they divide', () => {
    const mixed = { ...sequence(1, 4, 4), labels: Int32Array.of(-100, -100, -100, -100, 1, 1, 1, 1) };
    expect(microBatches([mixed], 4).map(({ offsets, labels }) => [[...offsets], labels[1]])).toEqual([[[0, 4], 1]]);
  });

  it('leave out what has nothing to train on', () => {
    const silent = { ...sequence(1, 4), labels: new Int32Array(4).fill(-100) };
    const onlyFirst = { ...sequence(2, 3), labels: Int32Array.of(2, -100, -100) };
    expect(idsOf(weighty(objective, [silent, sequence(3, 2), onlyFirst]))).toEqual([3]);
  });
});
