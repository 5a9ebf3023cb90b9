/** What a run or a server tells its subscribers. A failing subscriber is reported and dropped, and never stops a run. */
import type { TrainEvent, TrainPlan } from './train.ts';

export type RunEvent =
  | { readonly type: 'run-started'; readonly run: string; readonly dir: string; readonly name: string; readonly engine: string; readonly reason: string }
  | { readonly type: 'stage'; readonly stage: string; readonly use: string; readonly state: 'started' | 'done'; readonly seconds?: number; readonly detail?: string }
  | { readonly type: 'progress'; readonly label: string; readonly done: number; readonly total: number; readonly unit: 'bytes' | 'rows' | 'tokens' | 'steps' | 'tensors' }
  | { readonly type: 'plan'; readonly plan: TrainPlan }
  | { readonly type: 'log'; readonly level: 'info' | 'warn' | 'error'; readonly message: string }
  | { readonly type: 'generation'; readonly prompt: string; readonly text: string; readonly stack: string | null }
  /** The steps after `step` are done under another config, or by other plugin code. */
  | {
      readonly type: 'swapped';
      readonly step: number;
      /** Where the run directory keeps the config. */
      readonly config: string;
      readonly data: 'same-data' | 'other-data';
      /** Options by their dotted paths; one that is not there is undefined. */
      readonly options: readonly { readonly option: string; readonly from?: unknown; readonly to?: unknown }[];
      /** Content hashes. */
      readonly plugins: readonly { readonly plugin: string; readonly from?: string; readonly to?: string }[];
    }
  | { readonly type: 'run-ended'; readonly run: string; readonly status: 'succeeded' | 'failed' | 'cancelled'; readonly reason?: string; readonly seconds: number }
  /** A server has answered: what metrics are counted from. Times in seconds since the request came; status 499: its client went away. */
  | { readonly type: 'request'; readonly id: string; readonly method: string; readonly route: string | null; readonly status: number; readonly model: string | null; readonly seconds: number; readonly firstTokenSeconds: number | null; readonly promptTokens: number; readonly completionTokens: number }
  | TrainEvent;
