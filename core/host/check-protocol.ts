/** What the host asks of a process that evaluates plugins in its place, over Node's IPC channel. */
import type { CheckedConfig } from './checked-config.ts';
import type { ConfigSource } from './run-payload.ts';

export type CheckRequest =
  | { readonly type: 'resolve'; readonly source: ConfigSource; readonly pluginDirs: readonly string[] }
  /** Whether the run in `dir` could go on under the config: everything but training. */
  | { readonly type: 'rehearse'; readonly configFile: string; readonly dir: string; readonly threads: number; readonly halvings: number };

export type CheckAnswer =
  | { readonly type: 'resolved'; readonly configs: readonly CheckedConfig[] }
  /** With what a person should know, a sentence each. */
  | { readonly type: 'rehearsed'; readonly notes: readonly string[] }
  | { readonly type: 'refused'; readonly code: string | undefined; readonly message: string; readonly hint: string | undefined };
