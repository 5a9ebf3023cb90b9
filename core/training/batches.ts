import type { Packed } from '../contracts/index.ts';
import { concatPacked } from '../tensor/packed.ts';
import { rng } from '../tensor/rng.ts';
import type { Objective, Pass } from './objective.ts';
import type { TrainingSettings } from './options.ts';

const DEFAULT_BATCH_SIZE = 8;

/** Where one step stands in the run, and its data. */
export interface Step {
  /** Passes over the data when the step is done, fractional. */
  readonly epoch: number;
  /** Whether it is the last of its epoch, or of the run. */
  readonly endsEpoch: boolean;
  readonly sequences: readonly Packed[];
}

/** A place in the data: `sequences` of epoch `epoch` come before step `step`. */
export interface Place {
  /** Steps done. */
  readonly step: number;
  readonly epoch: number;
  readonly sequences: number;
  /** What of the epoch's steps was done, from 0 to 1. */
  readonly share: number;
}

/** @param step steps done on other data */
export function beginning(step = 0): Place {
  return { step, epoch: 0, sequences: 0, share: 0 };
}

/**
 * Which sequences each step of a run trains on. The order of an epoch depends on the seed and the epoch's number alone,
 * so a resumed run finds its place without replaying anything. The last, smaller batch of an epoch is kept.
 */
export class Batches {
  readonly totalSteps: number;
  /** Passes over the data in all, fractional. */
  readonly epochs: number;
  readonly #sequences: readonly Packed[];
  readonly #settings: TrainingSettings;
  readonly #trainer: string;
  readonly #seed: number;
  readonly #from: Place;
  /** First step of each epoch from that of `from` on, and one past the last. */
  readonly #epochStarts: readonly number[];
  #cached: { readonly epoch: number; readonly batches: readonly (readonly number[])[] } | undefined;

  /**
   * @param trainer its name; each has an order of its own
   * @param sequences those that have something to train on
   * @param from where these settings and this data begin to count: a swap moves it
   */
  constructor(trainer: string, sequences: readonly Packed[], settings: TrainingSettings, seed: number, from = beginning()) {
    this.#trainer = trainer;
    this.#sequences = sequences;
    this.#settings = settings;
    this.#seed = seed;
    this.#from = from.sequences < sequences.length ? from : { step: from.step, epoch: from.epoch + 1, sequences: 0, share: 0 };
    const starts = [from.step];
    let steps = from.step;
    let last = this.#from.epoch;
    for (let epoch = last; settings.max_steps === undefined ? epoch < settings.epochs : steps < settings.max_steps; epoch++) {
      steps += this.#stepsIn(epoch);
      starts.push(steps);
      last = epoch;
    }
    const partial = settings.epochs % 1;
    if (settings.max_steps !== undefined) steps = Math.max(from.step, settings.max_steps);
    else if (partial > 0 && starts.length > 1) {
      const done = this.#shareBefore(last);
      // 1.1 % 1 is a little more than 0.1, which is no step more.
      steps = starts.at(-2)! + Math.max(0, Math.ceil(((partial - done) / (1 - done)) * (steps - starts.at(-2)!) - 1e-9));
    }
    this.#epochStarts = starts;
    this.totalSteps = steps;
    this.epochs = this.#epochAt(steps);
  }

  /** @param index steps done before: 0 for the first */
  at(index: number): Step {
    const epoch = this.#epochStarts.findLastIndex((start) => start <= index);
    const batch = this.#batchesOf(this.#from.epoch + epoch)[index - this.#epochStarts[epoch]!]!;
    return {
      epoch: this.#epochAt(index + 1),
      endsEpoch: index + 1 === this.#epochStarts[epoch + 1] || index + 1 === this.totalSteps,
      sequences: batch.map((sequence) => this.#sequences[sequence]!),
    };
  }

  /** Where the data stands after so many steps. */
  placeAt(step: number): Place {
    const index = this.#epochStarts.findLastIndex((start) => start <= step);
    const epoch = this.#from.epoch + index;
    const before = epoch === this.#from.epoch ? this.#from.sequences : 0;
    const batches = this.#batchesOf(epoch).slice(0, step - this.#epochStarts[index]!);
    const share = step === this.#epochStarts[index]! ? this.#shareBefore(epoch) : this.#epochAt(step) - epoch;
    return { step, epoch, sequences: batches.reduce((sum, { length }) => sum + length, before), share };
  }

  #epochAt(stepsDone: number): number {
    const index = this.#epochStarts.findLastIndex((start) => start < stepsDone);
    if (index === -1) return this.#from.epoch + this.#shareBefore(this.#from.epoch);
    const epoch = this.#from.epoch + index;
    const done = this.#shareBefore(epoch);
    return epoch + done + (1 - done) * ((stepsDone - this.#epochStarts[index]!) / (this.#epochStarts[index + 1]! - this.#epochStarts[index]!));
  }

  /** What of an epoch was done before these batches began. */
  #shareBefore(epoch: number): number {
    return epoch === this.#from.epoch ? this.#from.share : 0;
  }

  #stepsIn(epoch: number): number {
    if (this.#settings.batch_tokens !== undefined) return this.#batchesOf(epoch).length;
    const before = epoch === this.#from.epoch ? this.#from.sequences : 0;
    return Math.ceil((this.#sequences.length - before) / (this.#settings.batch_size ?? DEFAULT_BATCH_SIZE));
  }

  #batchesOf(epoch: number): readonly (readonly number[])[] {
    if (this.#cached?.epoch !== epoch) {
      const order = rng(this.#seed, `train-${this.#trainer}`, 'order', epoch).shuffle(Array.from(this.#sequences, (_, index) => index));
      this.#cached = { epoch, batches: this.#group(epoch === this.#from.epoch ? order.slice(this.#from.sequences) : order) };
    }
    return this.#cached.batches;
  }

  #group(order: readonly number[]): number[][] {
    const { batch_tokens, batch_size = DEFAULT_BATCH_SIZE } = this.#settings;
    const weight = (index: number): number => (batch_tokens === undefined ? 1 : this.#sequences[index]!.inputIds.length);
    return fill(order, weight, batch_tokens ?? batch_size);
  }
}

/**
 * Divides a step into forward passes of at most `maxTokens` tokens. A sequence may be taken apart where its parts have losses of
 * their own; a part that is longer is a pass of its own, and one that weighs nothing is left out.
 */
export function passesOf(objective: Pick<Objective, 'divide' | 'weight'>, sequences: readonly Packed[], maxTokens: number): Pass[] {
  const parts = sequences.flatMap((sequence) => (sequence.inputIds.length <= maxTokens ? [sequence] : weighty(objective, objective.divide(sequence))));
  return fill(parts, (part) => part.inputIds.length, maxTokens).map((pass) => ({ sequences: pass, batch: concatPacked(pass) }));
}

/** The sequences that a loss can be computed on. */
export function weighty({ weight }: Pick<Objective, 'weight'>, sequences: readonly Packed[]): Packed[] {
  return sequences.filter((sequence) => weight(sequence) > 0);
}

/** Puts items in groups in their order; a group is closed when the next item would take it over `limit`. */
function fill<T>(items: readonly T[], weight: (item: T) => number, limit: number): T[][] {
  const groups: T[][] = [];
  let room = 0;
  for (const item of items) {
    if (groups.length === 0 || weight(item) > room) {
      groups.push([]);
      room = limit;
    }
    groups.at(-1)!.push(item);
    room -= weight(item);
  }
  return groups;
}
