import type { TrainPlan } from '../../contracts/index.ts';
import { formatBytes, formatCount, formatShare } from './format.ts';

/** A plan as rows of a name and what it says: what `graft plan`, a run's start and the report show. */
export function planRows(plan: TrainPlan): readonly (readonly [string, string])[] {
  const parts = Object.entries(plan.memory)
    .filter(([, bytes]) => bytes > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([part, bytes]) => `${part} ${formatBytes(bytes)}`);
  return [
    ['trains', `${formatCount(plan.trainableParameters)} of ${formatCount(plan.totalParameters)} parameters (${formatShare(plan.trainableParameters, plan.totalParameters)})`],
    ['data', `${formatCount(plan.tokensPerEpoch)} tokens an epoch, ${formatCount(plan.trainedTokensPerEpoch)} of them trained on`],
    ['steps', `${formatCount(plan.totalSteps)} in ${Number(plan.epochs.toFixed(2))} ${plan.epochs === 1 ? 'epoch' : 'epochs'}, at most ${formatCount(plan.maxMicroBatchTokens)} tokens in one pass`],
    ['memory', `about ${formatBytes(plan.peakMemoryBytes)} at its highest: ${parts.join(', ')}`],
  ];
}
