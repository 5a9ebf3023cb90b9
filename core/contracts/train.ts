/** What `train` yields, and how it persists. */

/**
 * One event of a training. `loss` is the mean over trained tokens, in nats, or what else the trainer minimises; `metrics` is what
 * it tells beside, such as `rewards/margins`.
 */
export type TrainEvent =
  | {
      readonly type: 'step';
      /** Steps done, from 1. */
      readonly step: number;
      readonly totalSteps: number;
      /** Passes over the data, fractional. */
      readonly epoch: number;
      readonly loss: number;
      readonly learningRate: number;
      /** Before clipping. */
      readonly gradNorm: number;
      readonly metrics?: Readonly<Record<string, number>>;
      /** Tokens in the step, trained on or not. */
      readonly tokens: number;
      readonly trainedTokens: number;
      readonly seconds: number;
    }
  | { readonly type: 'evaluation'; readonly step: number; readonly loss: number; readonly perplexity?: number; readonly metrics?: Readonly<Record<string, number>>; readonly trainedTokens: number; readonly seconds: number }
  | { readonly type: 'checkpoint'; readonly step: number; readonly dir: string; readonly best: boolean }
  | { readonly type: 'train-ended'; readonly step: number; readonly reason: 'completed' | 'early-stopping' | 'cancelled'; readonly loss: number; readonly evalLoss?: number };

export interface TrainPlan {
  readonly trainableParameters: number;
  readonly totalParameters: number;
  readonly tokensPerEpoch: number;
  readonly trainedTokensPerEpoch: number;
  readonly epochs: number;
  readonly totalSteps: number;
  /** The largest number of tokens in one forward pass. */
  readonly maxMicroBatchTokens: number;
  /** Resident set at its highest, in bytes. */
  readonly peakMemoryBytes: number;
  /** What that sum is made of, in bytes. */
  readonly memory: Readonly<Record<string, number>>;
}

/** A complete checkpoint on disk. */
export interface Checkpoint {
  readonly step: number;
  readonly dir: string;
  /** The trainer's own state, as it passed it to `save`. */
  readonly state: unknown;
  /** As it was passed to `save`. */
  readonly measure?: string;
}

/** Where a run goes on. */
export interface Resumption extends Checkpoint {
  /**
   * Set where the run's config was swapped since the checkpoint was made. The step count and the optimizer's state go on; `same-data` goes on
   * in its epoch, `other-data` begins at its first epoch.
   */
  readonly swapped?: 'same-data' | 'other-data';
  /**
   * Set beside `swapped` where the new config trains something else than the checkpoint holds: what has the same name and shape in both
   * goes on with its values, the rest begins anew, and so does the optimizer. A graft that is the same as a whole has been loaded.
   */
  readonly otherTrainables?: boolean;
}

/** The run's checkpoints: each a folder written aside, synced and renamed, so that a kill at any moment leaves only whole ones. */
export interface Checkpoints {
  /**
   * Saves the grafts (into `grafts/<index>-<name>/` of the folder; they are loaded again before `train` is called to resume) and
   * the trainer's own state.
   * @param write fills the folder with what `state` can't hold
   * @param state JSON-serialisable state of the trainer
   * @param keep how many of the newest are kept beside the best; default 2
   * @param evalLoss when given, the checkpoint takes part in the choice of the best one
   * @param measure what evalLoss is, where a trainer has several losses: only those of one measure are compared
   */
  save(step: number, parts: { readonly state: unknown; readonly evalLoss?: number; readonly measure?: string; readonly keep?: number; write(dir: string): Promise<void> }): Promise<{ readonly dir: string; readonly best: boolean }>;
  /** The newest complete one. */
  latest(): Promise<Checkpoint | undefined>;
  best(): Promise<Checkpoint | undefined>;
}
