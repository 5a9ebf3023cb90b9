import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** The state folder that is meant where none is named: `GRAFT_STATE`, else `~/.graft`. */
export function defaultStateDir(): string {
  return resolve(process.env['GRAFT_STATE'] ?? join(homedir(), '.graft'));
}

/** Where the daemon of a state folder says how it is reached. */
export function addressFileOf(stateDir: string): string {
  return join(stateDir, 'daemon.json');
}

/** Where a daemon listens and what its commands must bring, in the state folder, readable by its owner alone. */
export interface DaemonAddress {
  readonly url: string;
  readonly token: string;
  readonly pid: number;
  readonly version: string;
}
