import type { TrainCall, TrainPlan } from '../contracts/index.ts';
import { trainedTokens } from '../tensor/packed.ts';
import { Batches, passesOf } from './batches.ts';
import { evalSequencesOf, sequencesOf, trainablesOf } from './inputs.ts';
import { estimateMemory } from './memory.ts';
import type { Objective } from './objective.ts';
import { settingsOf, type TrainingOptions } from './options.ts';

/**
 * What `runTraining` will do, from sizes alone.
 * @throws GraftError as `runTraining` does before its first step
 */
export function planTraining(call: Pick<TrainCall<TrainingOptions>, 'config' | 'dataset' | 'grafts' | 'model' | 'seed'>, objective: Objective): TrainPlan {
  const settings = settingsOf(call.config, objective.name);
  const trainables = trainablesOf(call);
  const sequences = sequencesOf(call, objective);
  // Refused here as well as when training begins.
  evalSequencesOf(call, objective);
  const batches = new Batches(objective.name, sequences, settings, call.seed);
  const passes = tokensOfPasses(batches, objective, settings.micro_batch_tokens);
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
function totalParameters({ model, grafts }: Pick<TrainCall<TrainingOptions>, 'model' | 'grafts'>, trainable: number): number {
  const base = [...model.parameters.values()].reduce((sum, { size }) => sum + size, 0);
  const copied = grafts.flatMap((graft) => graft.trainables).filter(({ name }) => model.parameters.has(name)).reduce((sum, { variable }) => sum + variable.size, 0);
  return base + trainable - copied;
}

/** Tokens of each pass of each step of the first epoch; others differ in their order alone. */
function tokensOfPasses(batches: Batches, objective: Objective, maxTokens: number): number[][] {
  const steps: number[][] = [];
  for (let step = 0; step < batches.totalSteps; step++) {
    const { sequences, endsEpoch } = batches.at(step);
    steps.push(passesOf(objective, sequences, maxTokens).map(({ batch }) => batch.inputIds.length));
    if (endsEpoch) break;
  }
  return steps;
}
