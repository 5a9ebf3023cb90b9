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

/** Which base a process is to serve, and how. */
export interface ServeOrder {
  /** The name that requests say. */
  readonly id: string;
  /** The load plugin and its options, every path absolute. */
  readonly load: { readonly use: string; readonly options: Readonly<Record<string, unknown>> };
  readonly engine: { readonly use: string; readonly threads: number | 'auto' };
  /** The serve plugin and its options, but for where it listens. */
  readonly serve: { readonly use: string; readonly options: Readonly<Record<string, unknown>> };
  readonly pluginDirs: readonly string[];
  /** What its server asks of requests, so that nobody else on this machine comes in beside the host. */
  readonly apiKey: string;
  /** Bytes of adapters in memory, and of keys and values. */
  readonly adapterBytes: number;
  readonly kvBytes: number;
  readonly maxSequences: number;
  readonly maxBatchTokens: number;
  readonly setupMs: number;
  readonly beatMs: number;
}

/** What a process that serves has counted since it told last; seconds. */
export interface ServeCounts {
  readonly passes: readonly { readonly sequences: number; readonly tokens: number; readonly seconds: number }[];
  readonly firstTokens: readonly number[];
  readonly nextTokens: readonly number[];
  readonly batch: { readonly running: number; readonly waiting: number; readonly kvBytes: number; readonly kvLimitBytes: number; readonly reusedTokens: number; readonly preemptions: number };
  readonly adapters: { readonly loaded: number; readonly bytes: number; readonly loads: number; readonly evictions: number; readonly failures: number };
}

/** Why a run is to stop at its next step, checkpointed. */
export type StopReason = 'cancel' | 'pause' | 'swap' | 'shutdown';

/** What the host asks of a process that serves, by number. */
export type ServeRequest = { readonly what: 'load' | 'unload'; readonly model: string };

export type Order = { readonly type: 'start'; readonly order: WorkOrder } | { readonly type: 'serve'; readonly order: ServeOrder };

export type ToChild =
  | Order
  | { readonly type: 'stop'; readonly reason: StopReason }
  | { readonly type: 'ask'; readonly number: number; readonly ask: ServeRequest }
  /** The answer to `serving`: requests go there from now on. */
  | { readonly type: 'switched' }
  /** The answer to `find`: the adapter's folder, undefined where there is none. */
  | { readonly type: 'found'; readonly number: number; readonly dir: string | undefined };

export type FromChild =
  | { readonly type: 'beat'; readonly rssBytes: number }
  /** `swapped`: the config that was ordered is the run's; else the next `swapped` event says so. */
  | { readonly type: 'directory'; readonly dir: string; readonly swapped: boolean }
  | { readonly type: 'event'; readonly at: number; readonly event: RunEvent }
  | { readonly type: 'log'; readonly level: 'info' | 'warn' | 'error'; readonly message: string; readonly fields?: Readonly<Record<string, unknown>> }
  /** Where it answers from now on. */
  | { readonly type: 'serving'; readonly url: string }
  | { readonly type: 'counts'; readonly counts: ServeCounts }
  /** Asks for the folder of an adapter. */
  | { readonly type: 'find'; readonly number: number; readonly model: string }
  | { readonly type: 'answer'; readonly number: number; readonly error?: { readonly code: string | undefined; readonly message: string; readonly hint: string | undefined } }
  | { readonly type: 'ended'; readonly end: RunEnd };

/** How a run's process says that it ended; one that says nothing has died. */
export type RunEnd =
  | { readonly status: 'succeeded' }
  | { readonly status: 'stopped'; readonly reason: string }
  /** `lasting`: another attempt would end the same way. */
  | { readonly status: 'failed'; readonly reason: string; readonly code: string | undefined; readonly lasting: boolean };
