import type { ExampleInfo } from '../contracts/index.ts';

/** One tokenised example on its way into a dataset. */
export interface Example {
  /** `[T]`, at least one. */
  readonly inputIds: Int32Array;
  /** `[T]`, aligned with `inputIds`; -100: no loss on this token. */
  readonly labels: Int32Array;
  readonly info: ExampleInfo;
}

/** A label that carries no loss. */
const IGNORED = -100;

/** Predictions that carry a loss: labels other than -100, without the first token's, which nothing predicts. */
export function trainedTokensOf({ labels }: Pick<Example, 'labels'>): number {
  let count = 0;
  for (let i = 1; i < labels.length; i++) if (labels[i] !== IGNORED) count++;
  return count;
}
