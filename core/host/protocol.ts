/** What the host and the process of a run tell each other, over Node's IPC channel. */
import type { RunEvent } from '../contracts/index.ts';

/** What a run's process is to do. */
export interface WorkOrder {
  /** The config as it was submitted, every path in it absolute. */
  readonly configFile: string;
  /** Plugin folders beside those that the config names. */
  readonly pluginDirs: readonly string[];
  /** The run directory's name: attempts after the first go on in it. */
  readonly runId: string;
  /** Threads for an engine whose config leaves them open. */
  readonly threads: number;
  /** How often the tokens of one pass are halved, after attempts that ran out of memory. */
  readonly halvings: number;
  /** The config is to take the place of the one that the run directory has, unless it has this swap behind it. */
  readonly swap?: { readonly id: string };
  /** Milliseconds between two signs of life. */
  readonly beatMs: number;
}

/** Why a run is to stop at its next step, checkpointed. */
export type StopReason = 'cancel' | 'pause' | 'swap' | 'shutdown';

export type ToChild = { readonly type: 'start'; readonly order: WorkOrder } | { readonly type: 'stop'; readonly reason: StopReason };

export type FromChild =
  | { readonly type: 'beat'; readonly rssBytes: number }
  /** `swapped`: the config that was ordered is the run's; else the next `swapped` event says so. */
  | { readonly type: 'directory'; readonly dir: string; readonly swapped: boolean }
  | { readonly type: 'event'; readonly at: number; readonly event: RunEvent }
  | { readonly type: 'log'; readonly level: 'info' | 'warn' | 'error'; readonly message: string }
  | { readonly type: 'ended'; readonly end: RunEnd };

/** How a run's process says that it ended; one that says nothing has died. */
export type RunEnd =
  | { readonly status: 'succeeded' }
  | { readonly status: 'stopped'; readonly reason: string }
  /** `lasting`: another attempt would end the same way. */
  | { readonly status: 'failed'; readonly reason: string; readonly code: string | undefined; readonly lasting: boolean };
