import type { Logger, RunEvent, ServedModels } from 'graft';
import type { Gate } from './gate.ts';
import type { ServeOptions } from './options.ts';

/** What the routes share. */
export interface ServerContext {
  readonly models: ServedModels;
  readonly options: ServeOptions;
  readonly gate: Gate;
  readonly log: Logger;
  /** Tells the host of each request that has ended. */
  readonly emit: (event: RunEvent) => void;
  /** Fires when generations in flight are to stop. */
  readonly signal: AbortSignal;
}
