/** What the oracles need of the process that they run in, and what they answer. */
import type { LoadedModel, StageCall } from '../../contracts/index.ts';
import type { InjectPlugin } from '../recognize.ts';

export interface OracleHost {
  /** What every hook call is given. */
  readonly call: Omit<StageCall<unknown>, 'config'>;
  readonly injectPlugins: readonly InjectPlugin[];
  /** Loads a Hugging Face folder; the caller disposes the model. */
  load(folder: string): Promise<LoadedModel>;
}

/** One number held against its reference. */
export interface Check {
  /** `logits`, `loss`, `losses`, ... */
  readonly name: string;
  /** The largest absolute difference, or for a count the difference. */
  readonly difference: number;
  /** Beyond it, the check fails; undefined where the number is shown and not judged. */
  readonly tolerance?: number;
}

export type OracleResult =
  | { readonly method: string; readonly state: 'checked'; readonly checks: readonly Check[] }
  /** No plugin computes it yet. */
  | { readonly method: string; readonly state: 'unknown'; readonly reason: string }
  /** Something that it needs is not here. */
  | { readonly method: string; readonly state: 'skipped'; readonly reason: string }
  /** A plugin claimed it and then failed. */
  | { readonly method: string; readonly state: 'broken'; readonly reason: string };

/** What float32 throughout allows: `tensors` is the root mean square of one after ten steps, of a learning rate of 1e-2. */
export const TOLERANCE = { logits: 2e-5, loss: 1e-5, losses: 1e-4, storiesLosses: 1e-3, tensors: 1e-3 } as const;

export function failed(result: OracleResult): boolean {
  return result.state === 'broken' || (result.state === 'checked' && result.checks.some(({ difference, tolerance }) => tolerance !== undefined && !(difference <= tolerance)));
}
