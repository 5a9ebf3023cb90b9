import type { Logger, ServedModels } from 'graft';
import type { Gate } from './gate.ts';
import type { ServeOptions } from './options.ts';

/** What the routes share. */
export interface ServerContext {
  readonly models: ServedModels;
  readonly options: ServeOptions;
  readonly gate: Gate;
  readonly log: Logger;
  /** Fires when generations in flight are to stop. */
  readonly signal: AbortSignal;
}
