/** `graft keys add | list | revoke`: who may ask the daemon for what. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { ApiKey } from '../../host/trust/api-keys.ts';
import { GraftError } from '../../kernel/errors.ts';
import { withState, type StateOptions } from '../state-option.ts';
import { table } from '../table.ts';

/** As much of the keys as the commands need: of a daemon that runs, or of the state folder of one that does not. */
interface Keys {
  list(): Promise<readonly ApiKey[]>;
  add(name: string, scopes: readonly string[]): Promise<{ readonly key: ApiKey; readonly secret: string }>;
  revoke(name: string): Promise<void>;
}

export function keysCommand(): Command {
  const command = new Command('keys').description('make, list and end API keys of the daemon').addHelpText('after', '\nWithout a key, local programs alone may use the daemon, and all of them may. As soon as there is one, every request needs one.');
  const add = new Command('add')
    .description('make a key and show it, once')
    .argument('<name>', 'whose it is, or what for')
    .requiredOption('--scope <scopes>', 'what it is for, commas between: infer (ask models), train (files and fine-tuning), admin (everything)');
  command.addCommand(withState(add).action((name: string, options: StateOptions & { readonly scope: string }) => withKeys(options, (keys) => addKey(keys, name, options.scope))));
  const list = new Command('list').description('show keys, without what could be used').option('--json', 'as JSON');
  command.addCommand(withState(list).action((options: StateOptions & { readonly json?: boolean }) => withKeys(options, (keys) => showKeys(keys, options))));
  const revoke = new Command('revoke').description('end a key: the next request with it is refused').argument('<name>', 'its name');
  command.addCommand(withState(revoke).action((name: string, options: StateOptions) => withKeys(options, (keys) => revokeKey(keys, name))));
  return command;
}

/** The key alone goes to standard output, so that a script can take it. */
async function addKey(keys: Keys, name: string, scopes: string): Promise<void> {
  const { key, secret } = await keys.add(name, scopes.split(',').map((scope) => scope.trim()));
  process.stdout.write(`${secret}\n`);
  process.stderr.write(`This is the key ${key.name}, for ${key.scopes.join(', ')}. It is not shown again: keep it now. Every request to /v1 needs a key from now on.\n`);
}

async function showKeys(keys: Keys, { json }: { readonly json?: boolean }): Promise<void> {
  const known = await keys.list();
  if (json === true) process.stdout.write(`${JSON.stringify(known)}\n`);
  else if (known.length === 0) process.stdout.write('There are no keys: local programs need none. `graft keys add <name> --scope infer` makes one.\n');
  else process.stdout.write(`${table(['name', 'scopes', 'key', 'made'], known.map(({ name, scopes, shown, createdAt }) => [name, scopes.join(','), `${shown}...`, new Date(createdAt).toISOString()]))}\n`);
}

async function revokeKey(keys: Keys, name: string): Promise<void> {
  await keys.revoke(name);
  const last = (await keys.list()).length === 0;
  process.stdout.write(`${name}  is revoked\n`);
  if (last) process.stderr.write('It was the last one: a daemon on 127.0.0.1 is open to local programs again, one on another address refuses everybody.\n');
}

/** A daemon that runs is the only writer of its state; where none does, the folder is taken for as long as this takes. */
async function withKeys({ state }: StateOptions, act: (keys: Keys) => Promise<void>): Promise<void> {
  const [{ DaemonClient }, { defaultStateDir }] = await Promise.all([import('../../host/client.ts'), import('../../host/state-dir.ts')]);
  const dir = state === undefined ? defaultStateDir() : resolve(state);
  try {
    const client = DaemonClient.find(dir);
    return await act({ list: () => client.keys(), add: (name, scopes) => client.addKey(name, scopes), revoke: (name) => client.revokeKey(name) });
  } catch (error) {
    if (!GraftError.is(error) || error.code !== 'NO_DAEMON') throw error;
  }
  const [{ HostState }, { ApiKeys }] = await Promise.all([import('../../host/state.ts'), import('../../host/trust/api-keys.ts')]);
  const opened = HostState.open(dir);
  try {
    const keys = new ApiKeys(opened.database);
    await act({ list: async () => keys.list(), add: async (name, scopes) => keys.add(name, scopes), revoke: async (name) => keys.revoke(name) });
  } finally {
    opened.close();
  }
}
