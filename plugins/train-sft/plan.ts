import { trainedTokens, type TrainCall, type TrainPlan } from 'graft';
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
  // Refused here as well as when training begins.
  evalSequencesOf(call);
  const batches = new Batches(sequences, settings, call.seed);
  const passes = passesOfFirstEpoch(batches, settings.micro_batch_tokens);
  const maxMicroBatchTokens = passes.flat().reduce((most, tokens) => Math.max(most, tokens), 0);
  const memory = estimateMemory(call.model, trainables, maxMicroBatchTokens, passes.some((step) => step.length > 1), settings.recompute);
  const trainableParameters = trainables.reduce((sum, { variable }) => sum + variable.size, 0);
  const tokens = sequences.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
  return {
    trainableParameters,
    totalParameters: totalParameters(call, trainableParameters),
    tokensPerEpoch: tokens,
    trainedTokensPerEpoch: sequences.reduce((sum, sequence) => sum + trainedTokens(sequence), 0),
    epochs: batches.epochs,
    totalSteps: batches.totalSteps,
    maxMicroBatchTokens,
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

/** Tokens of each pass of each step; other epochs differ in their order alone. */
function passesOfFirstEpoch(batches: Batches, maxTokens: number): number[][] {
  const steps: number[][] = [];
  for (let step = 0; step < batches.totalSteps; step++) {
    const { sequences, endsEpoch } = batches.at(step);
    steps.push(microBatches(sequences, maxTokens).map(({ inputIds }) => inputIds.length));
    if (endsEpoch) break;
  }
  return steps;
}
