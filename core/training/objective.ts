/** What a training minimises: what makes one trainer another. */
import type { Tensor1D } from '@tensorflow/tfjs-core';
import type { Dataset, ForwardOptions, Packed, PackedBatch } from '../contracts/index.ts';

/** The sequences of one forward pass, whole and joined. */
export interface Pass {
  readonly sequences: readonly Packed[];
  readonly batch: PackedBatch;
}

/** What a pass came to. */
export interface PassLosses {
  /** Their sum is the loss of the pass; differentiated. */
  readonly losses: Tensor1D;
  /** What is worth showing beside the loss, such as `rewards/margins`: the sum of each over the step, divided by the step's weight, is told. */
  readonly metrics?: Readonly<Record<string, Tensor1D>>;
}

/**
 * A loss over sequences. The loss of a step is
 *
 *     sum of the losses of its sequences / sum of their weights
 *
 * both over the whole step, however many passes it is divided into.
 */
export interface Objective {
  /** The name of the train plugin: it names the run's random streams, and stands in messages. */
  readonly name: string;
  /** What the loss depends on beside the data, where that can be told apart: losses of different measures are never compared. */
  readonly measure?: string;
  /** Whether the mean goes over tokens, so that its exponential is a perplexity. */
  readonly perToken: boolean;
  /** @throws GraftError where the dataset is of another kind than this loss is for */
  check(dataset: Dataset): void;
  /** What a sequence weighs in the mean, a whole number; one of 0 is left out. */
  weight(sequence: Packed): number;
  /** Takes a sequence apart into the smallest ones that have a loss of their own, for passes that it does not fit into. */
  divide(sequence: Packed): readonly Packed[];
  /** Finds what the losses of a pass depend on beside the trainables; called before each pass, outside of any gradient. */
  prepare?(sequences: readonly Packed[]): Promise<void>;
  /** Computes the losses of a pass; inside of `valueAndGrads` while training. */
  losses(pass: Pass, options: ForwardOptions): PassLosses;
}
