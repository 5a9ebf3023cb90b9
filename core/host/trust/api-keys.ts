/** Who may ask the daemon for what: API keys, of which the database has the digests alone. */
import { Type } from 'typebox';
import type { Database, SqlRow } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { digestOf, newApiKey, ownerOf } from './secret.ts';

const STEPS: readonly string[] = [
  `CREATE TABLE host_api_keys (
     name TEXT PRIMARY KEY,
     digest BLOB NOT NULL UNIQUE,
     shown TEXT NOT NULL,
     scopes TEXT NOT NULL,
     created_at INTEGER NOT NULL
   ) STRICT;`,
];
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
/** Characters of a key that a list shows, so that its owner knows which it is: 24 of its 256 bits. */
const SHOWN = 'graft_sk_'.length + 4;

/** `infer`: ask models; `train`: files and fine-tuning; `admin`: everything. */
export type Scope = 'infer' | 'train' | 'admin';
export const SCOPES: readonly Scope[] = ['infer', 'train', 'admin'];

/** What a new key is asked for with. */
export const keyRequest = Type.Object({ name: Type.String(), scopes: Type.Array(Type.String(), { minItems: 1 }) }, { additionalProperties: false });

export interface ApiKey {
  readonly name: string;
  /** How it begins. */
  readonly shown: string;
  readonly scopes: readonly Scope[];
  /** Unix milliseconds. */
  readonly createdAt: number;
}

export class ApiKeys {
  readonly #database: Database;
  /** This process alone writes them. */
  #keys: readonly (ApiKey & { readonly digest: Buffer })[];

  constructor(database: Database) {
    this.#database = database;
    database.migrate('host-api-keys', STEPS);
    this.#keys = this.#read();
  }

  get any(): boolean {
    return this.#keys.length > 0;
  }

  /** In the order of their making, without what could be used. */
  list(): readonly ApiKey[] {
    return this.#keys.map(({ digest: _, ...key }) => key);
  }

  /**
   * Makes a key.
   * @returns it with its secret, which is never seen again
   * @throws GraftError `KEY_NAME`, `KEY_SCOPE`, `KEY_EXISTS`
   */
  add(name: string, scopes: readonly string[]): { readonly key: ApiKey; readonly secret: string } {
    if (!NAME.test(name)) throw new GraftError('KEY_NAME', `${JSON.stringify(name)} can't be the name of a key: it is letters, digits and \`._@-\`, at most 64.`);
    const unknown = scopes.find((scope) => !SCOPES.includes(scope as Scope));
    if (unknown !== undefined || scopes.length === 0) throw new GraftError('KEY_SCOPE', `${unknown === undefined ? 'No scope is given' : `There is no scope ${JSON.stringify(unknown)}`}; there are ${SCOPES.join(', ')}.`);
    if (this.#keys.some((key) => key.name === name)) throw new GraftError('KEY_EXISTS', `There is a key ${name} already.`, { hint: `\`graft keys revoke ${name}\` ends it.` });
    const secret = newApiKey();
    const key: ApiKey = { name, shown: secret.slice(0, SHOWN), scopes: SCOPES.filter((scope) => scopes.includes(scope)), createdAt: Date.now() };
    this.#database.run('INSERT INTO host_api_keys (name, digest, shown, scopes, created_at) VALUES (:name, :digest, :shown, :scopes, :createdAt)', { ...key, scopes: key.scopes.join(','), digest: digestOf(secret) });
    this.#keys = this.#read();
    return { key, secret };
  }

  /**
   * Ends a key: the next request with it is refused.
   * @throws GraftError `KEY_UNKNOWN`
   */
  revoke(name: string): void {
    if (this.#database.run('DELETE FROM host_api_keys WHERE name = :name', { name }) === 0) throw new GraftError('KEY_UNKNOWN', `There is no key ${JSON.stringify(name)}.`, { hint: '`graft keys list` shows those that there are.' });
    this.#keys = this.#read();
  }

  find(secret: string): ApiKey | undefined {
    return ownerOf(secret, this.#keys);
  }

  #read(): readonly (ApiKey & { readonly digest: Buffer })[] {
    return this.#database.all('SELECT * FROM host_api_keys ORDER BY created_at, name').map(keyOf);
  }
}

function keyOf(row: SqlRow): ApiKey & { readonly digest: Buffer } {
  return { name: String(row['name']), shown: String(row['shown']), scopes: String(row['scopes']).split(',') as Scope[], createdAt: Number(row['created_at']), digest: Buffer.from(row['digest'] as Uint8Array) };
}
