import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { jsonLogger } from '../../../core/host/json-log.ts';
import { SqliteDatabase } from '../../../core/host/sqlite.ts';
import { stderrLogger } from '../../../core/host/stderr-log.ts';
import { ApiKeys } from '../../../core/host/trust/api-keys.ts';
import { isOwnHost, isOwnOrigin } from '../../../core/host/trust/origin.ts';
import { bearerOf, withoutSecrets } from '../../../core/host/trust/secret.ts';

let dir: string;
let database: SqliteDatabase;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'keys-'));
  database = new SqliteDatabase(join(dir, 'graft.db'));
});
afterEach(() => {
  database.close();
  rmSync(dir, { recursive: true });
});

describe('API keys', () => {
  it('are known again after a restart, and end when they are revoked', () => {
    const { secret, key } = new ApiKeys(database).add('ci', ['train', 'infer']);
    expect(secret).toMatch(/^graft_sk_[\w-]{43}$/);
    expect(key.scopes).toEqual(['infer', 'train']);
    const keys = new ApiKeys(database);
    expect(keys.find(secret)).toMatchObject({ name: 'ci', scopes: ['infer', 'train'] });
    expect(keys.find(`${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`)).toBeUndefined();
    expect(keys.find('')).toBeUndefined();
    keys.revoke('ci');
    expect(keys.find(secret)).toBeUndefined();
    expect(keys.any).toBe(false);
    expect(() => keys.revoke('ci')).toThrow('There is no key "ci".');
  });

  it('are nowhere in the database', () => {
    const { secret } = new ApiKeys(database).add('ci', ['infer']);
    database.close();
    const bytes = readFileSync(join(dir, 'graft.db'));
    expect(bytes.includes('ci')).toBe(true);
    expect(bytes.includes(secret.slice('graft_sk_'.length + 4))).toBe(false);
  });

  it.each([
    ['a name that could be a path', '../x', ['infer'], 'KEY_NAME'],
    ['a scope that there is not', 'a', ['root'], 'KEY_SCOPE'],
    ['no scope', 'a', [], 'KEY_SCOPE'],
  ])('are refused with %s', (_, name, scopes, code) => {
    expect(() => new ApiKeys(database).add(name, scopes)).toThrow(expect.objectContaining({ code }) as Error);
  });

  it('have one name each', () => {
    const keys = new ApiKeys(database);
    keys.add('a', ['infer']);
    expect(() => keys.add('a', ['admin'])).toThrow('There is a key a already.');
  });

  it('are not told by logs', () => {
    const { secret } = new ApiKeys(database).add('ci', ['infer']);
    expect(withoutSecrets(`key ${secret} and ${secret}.`)).toBe('key graft_sk_[redacted] and graft_sk_[redacted].');
    const harmless = 'The bearer of bad news; graft_sk alone; tokens: 12';
    expect(withoutSecrets(harmless)).toBe(harmless);
    const lines: string[] = [];
    const log = jsonLogger({ write: (line) => void lines.push(line) });
    log.error(`Authorization: Bearer ${secret} failed`, {
      authorization: 'plain-1',
      headers: { authorization: 'plain-2', accept: '*/*' },
      request: { headers: { authorization: 'plain-3' }, apiKey: 'plain-4' },
      stack: new Error(`no such key ${secret}"`).stack,
    });
    log.child({ token: 'plain-5' }).info('a child', { secret: 'plain-6' });
    const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    stderrLogger('info').error(`The key ${secret} failed`, { headers: { authorization: `Bearer ${secret}` } });
    lines.push(...written.mock.calls.map(([line]) => String(line)));
    written.mockRestore();
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line).not.toMatch(new RegExp(`plain-|${secret.slice(-20)}`));
    expect(JSON.parse(lines[0]!)).toMatchObject({ msg: 'Authorization: Bearer [redacted] failed', headers: { accept: '*/*' }, stack: expect.stringContaining('graft_sk_[redacted]"') as string });
  });
});

it.each([
  ['Bearer abc', 'abc'],
  ['bearer   abc ', 'abc'],
  ['Basic abc', ''],
  ['Bearer a b', ''],
  [undefined, ''],
])('reads the secret of %s', (header, secret) => expect(bearerOf(header)).toBe(secret));

describe("a request's host", () => {
  it.each(['127.0.0.1:7474', 'localhost:7474', 'LOCALHOST:7474', '127.8.9.1:7474', '[::1]:7474', 'graft.example:8443', 'other.example', 'other.example:1'])('%s is this server', (host) => {
    expect(isOwnHost(host, 7474, ['graft.example:8443', 'other.example'])).toBe(true);
  });
  it.each([undefined, '', 'evil.example:7474', 'localhost', 'localhost:80', '127.0.0.1.evil.example:7474', 'localhost.evil.example:7474', 'graft.example', '0.0.0.0:7474', '10.0.0.1:7474', 'user@localhost:7474', 'localhost:7474/x', 'evil.example#@localhost:7474', 'localhost:99999'])('%s is not', (host) => {
    expect(isOwnHost(host, 7474, ['graft.example:8443', 'other.example'])).toBe(false);
  });
  it('needs no port where that is the usual one', () => expect(isOwnHost('localhost', 80, [])).toBe(true));
});

describe("a page's origin", () => {
  it.each(['http://localhost:3000', 'http://127.0.0.1', 'https://[::1]:8', 'https://chat.example'])('%s may ask', (origin) => {
    expect(isOwnOrigin(origin, ['https://chat.example'])).toBe(true);
  });
  it.each(['null', '', 'https://evil.example', 'http://chat.example', 'https://chat.example.evil.example', 'http://localhost.evil.example', 'http://localhost@evil.example', 'file://'])('%s may not', (origin) => {
    expect(isOwnOrigin(origin, ['https://chat.example'])).toBe(false);
  });
});
