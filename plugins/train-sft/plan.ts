import { trainedTokens, type Packed, type TrainCall, type TrainPlan } from 'graft';
import { Batches, microBatches } from './batches.ts';
import { evalSequencesOf, sequencesOf, trainablesOf } from './inputs.ts';
import { estimateMemory } from './memory.ts';
import { settingsOf, type SftOptions } from './options.ts';

/**
 * What `train` will do, from sizes alone.
 * @throws GraftError as `train` does before its first step
 */
export function plan(call: Pick<TrainCall<SftOptions>, 'config' | 'dataset' | 'grafts' | 'model' | 'seed'>): TrainPlan {
  const settings = settingsOf(call.config);
  const trainables = trainablesOf(call);
  const sequences = sequencesOf(call);
  const batches = new Batches(sequences, settings, call.seed);
  const passes = largestPasses(batches, evalSequencesOf(call), settings.micro_batch_tokens);
  const memory = estimateMemory(call.model, trainables, passes);
  const trainableParameters = trainables.reduce((sum, { variable }) => sum + variable.size, 0);
  const tokens = sequences.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
  return {
    trainableParameters,
    totalParameters: totalParameters(call, trainableParameters),
    tokensPerEpoch: tokens,
    trainedTokensPerEpoch: sequences.reduce((sum, sequence) => sum + trainedTokens(sequence), 0),
    epochs: batches.epochs,
    totalSteps: batches.totalSteps,
    maxMicroBatchTokens: passes.train.tokens,
    peakMemoryBytes: Object.values(memory).reduce((sum, bytes) => sum + bytes, 0),
    memory,
  };
}

/** The base, and what was added to it; a trained copy of one of its own parameters adds nothing. */
function totalParameters({ model, grafts }: Pick<TrainCall<SftOptions>, 'model' | 'grafts'>, trainable: number): number {
  const base = [...model.parameters.values()].reduce((sum, { size }) => sum + size, 0);
  const copied = grafts.flatMap((graft) => graft.trainables).filter(({ name }) => model.parameters.has(name)).reduce((sum, { variable }) => sum + variable.size, 0);
  return base + trainable - copied;
}

/** The size of a forward pass, as far as memory depends on it. */
export interface Pass {
  readonly tokens: number;
  /** Query-key pairs of one head, the masked half too: the sum of squared example lengths. */
  readonly pairs: number;
}

export interface Passes {
  readonly train: Pass;
  readonly eval: Pass;
}

/** The largest passes of the first epoch and of an evaluation; other epochs differ in their order alone. */
function largestPasses(batches: Batches, evalSequences: readonly Packed[], maxTokens: number): Passes {
  const train: Pass[] = [];
  for (let step = 0; step < batches.totalSteps; step++) {
    const { sequences, endsEpoch } = batches.at(step);
    train.push(...microBatches(sequences, maxTokens).map(sizeOf));
    if (endsEpoch) break;
  }
  return { train: largest(train), eval: largest(microBatches(evalSequences, maxTokens).map(sizeOf)) };
}

function sizeOf({ inputIds, offsets }: Packed): Pass {
  let pairs = 0;
  for (let i = 0; i + 1 < offsets.length; i++) pairs += (offsets[i + 1]! - offsets[i]!) ** 2;
  return { tokens: inputIds.length, pairs };
}

function largest(passes: readonly Pass[]): Pass {
  return { tokens: Math.max(0, ...passes.map(({ tokens }) => tokens)), pairs: Math.max(0, ...passes.map(({ pairs }) => pairs)) };
}
