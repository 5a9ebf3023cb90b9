import { existsSync, readFileSync } from 'node:fs';
import type { RunEvent } from '../contracts/index.ts';
import type { RunResult } from './run-directory.ts';

type Of<T extends RunEvent['type']> = Extract<RunEvent, { type: T }> & { readonly time: string };

/** What events.jsonl says of a run, by kind, in order. */
export interface History {
  readonly steps: readonly Of<'step'>[];
  readonly evaluations: readonly Of<'evaluation'>[];
  readonly checkpoints: readonly Of<'checkpoint'>[];
  readonly generations: readonly Of<'generation'>[];
  readonly logs: readonly Of<'log'>[];
  readonly swaps: readonly Of<'swapped'>[];
  readonly ended: Of<'train-ended'> | undefined;
}

/** Reads events.jsonl; a last line that a killed process left unfinished is passed over. */
export function readHistory(path: string): History {
  const events = existsSync(path) ? readFileSync(path, 'utf8').split('\n').flatMap(parse) : [];
  const of = <T extends RunEvent['type']>(type: T): Of<T>[] => events.filter((event): event is Of<T> => event.type === type);
  return {
    steps: of('step'),
    evaluations: of('evaluation'),
    checkpoints: of('checkpoint'),
    generations: of('generation'),
    logs: of('log'),
    swaps: of('swapped'),
    ended: of('train-ended').at(-1),
  };
}

function parse(line: string): (RunEvent & { readonly time: string })[] {
  try {
    return line === '' ? [] : [JSON.parse(line) as RunEvent & { readonly time: string }];
  } catch {
    return [];
  }
}

/** What the training came to; undefined before it has ended. */
export function resultOf({ steps, evaluations, ended }: History): RunResult | undefined {
  if (ended === undefined) return undefined;
  const seconds = steps.reduce((sum, step) => sum + step.seconds, 0);
  const tokens = steps.reduce((sum, step) => sum + step.tokens, 0);
  return {
    steps: ended.step,
    reason: ended.reason,
    loss: ended.loss,
    evalLossBefore: evaluations.find((evaluation) => evaluation.step === 0)?.loss,
    evalLoss: ended.evalLoss,
    seconds,
    tokensPerSecond: seconds === 0 ? 0 : tokens / seconds,
  };
}
