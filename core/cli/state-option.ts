import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { DaemonClient } from '../host/client.ts';

export interface StateOptions {
  readonly state?: string;
}

/** The option of every command that talks to a daemon. */
export function withState(command: Command): Command {
  return command.option('--state <dir>', "the daemon's state folder (default: GRAFT_STATE, else ~/.graft)");
}

/** @throws GraftError `NO_DAEMON` */
export async function daemonOf({ state }: StateOptions): Promise<DaemonClient> {
  const { DaemonClient } = await import('../host/client.ts');
  return DaemonClient.find(state === undefined ? undefined : resolve(state));
}
