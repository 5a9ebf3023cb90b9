import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SqliteDatabase } from '../../core/host/sqlite.ts';
import { HostState } from '../../core/host/state.ts';

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'sqlite-'))));
afterEach(() => rmSync(dir, { recursive: true }));

describe('the database', () => {
  it('syncs every commit, in WAL mode', () => {
    const database = new SqliteDatabase(join(dir, 'a.db'));
    expect(database.get('PRAGMA journal_mode')).toEqual({ journal_mode: 'wal' });
    expect(database.get('PRAGMA synchronous')).toEqual({ synchronous: 2 });
    database.close();
  });

  it('migrates each owner by itself, each step once', () => {
    const database = new SqliteDatabase(join(dir, 'a.db'));
    database.migrate('one', ['CREATE TABLE one (a INTEGER) STRICT']);
    database.migrate('two', ['CREATE TABLE two (a INTEGER) STRICT']);
    database.migrate('one', ['CREATE TABLE one (a INTEGER) STRICT', 'ALTER TABLE one ADD COLUMN b TEXT']);
    expect(database.all("SELECT name FROM pragma_table_info('one')")).toEqual([{ name: 'a' }, { name: 'b' }]);
    expect(() => database.migrate('one', [])).toThrow('The tables of one in');
    database.close();
  });

  it('undoes a step that fails, and those of the same call', () => {
    const database = new SqliteDatabase(join(dir, 'a.db'));
    expect(() => database.migrate('one', ['CREATE TABLE one (a INTEGER) STRICT', 'CREATE TABLE one (a INTEGER) STRICT'])).toThrow('already exists');
    expect(database.all("SELECT name FROM sqlite_schema WHERE name = 'one'")).toEqual([]);
    database.close();
  });

  it('does all of a transaction or nothing, one inside another included', () => {
    const database = new SqliteDatabase(join(dir, 'a.db'));
    database.migrate('one', ['CREATE TABLE one (a INTEGER) STRICT']);
    const insert = (a: number): number => database.run('INSERT INTO one (a) VALUES (:a)', { a });
    expect(() =>
      database.transaction(() => {
        insert(1);
        database.transaction(() => insert(2));
        throw new Error('no');
      }),
    ).toThrow('no');
    expect(database.all('SELECT * FROM one')).toEqual([]);
    database.transaction(() => insert(3));
    expect(database.all('SELECT * FROM one')).toEqual([{ a: 3 }]);
    database.close();
  });
});

describe('the state folder', () => {
  it('belongs to one process', () => {
    const state = HostState.open(dir);
    expect(() => HostState.open(dir)).toThrow(`Another process writes ${dir}: process ${process.pid}.`);
    state.close();
    HostState.open(dir).close();
  });

  it('refuses a damaged database and names the newest backup, which is whole', async () => {
    const state = HostState.open(dir);
    state.database.migrate('one', ['CREATE TABLE one (a INTEGER) STRICT']);
    await state.backUp();
    state.close();
    const file = join(dir, 'graft.db');
    writeFileSync(file, readFileSync(file).fill(7, 0, 2000));
    const backup = /(\S+\.db)$/;
    const failure = ((): { readonly message: string; readonly code?: string; readonly hint?: string } => {
      try {
        HostState.open(dir);
      } catch (error) {
        return error as Error;
      }
      throw new Error('it was opened');
    })();
    expect(failure.code).toBe('DATABASE_CORRUPT');
    expect(failure.message).toContain(file);
    const restored = new SqliteDatabase(backup.exec(failure.hint!)![1]!);
    expect(restored.all("SELECT name FROM sqlite_schema WHERE name = 'one'")).toEqual([{ name: 'one' }]);
    restored.close();
  });

  it('keeps its backups, and makes no other, where it was damaged while it was open', async () => {
    const state = HostState.open(dir);
    state.database.migrate('one', ['CREATE TABLE one (a TEXT) STRICT']);
    for (let i = 0; i < 200; i++) state.database.run('INSERT INTO one (a) VALUES (:a)', { a: 'x'.repeat(1000) });
    state.database.get('PRAGMA wal_checkpoint(TRUNCATE)');
    await state.backUp();
    const file = openSync(join(dir, 'graft.db'), 'r+');
    writeSync(file, Buffer.alloc(60_000, 7), 0, 60_000, 40_960);
    closeSync(file);
    const before = readdirSync(join(dir, 'backups'));
    await expect(state.backUp(Date.now() + 90_000_000)).rejects.toMatchObject({ code: 'DATABASE_CORRUPT', hint: expect.stringContaining('backups of before') as string });
    expect(readdirSync(join(dir, 'backups')).filter((name) => name.endsWith('.db'))).toEqual(before);
    state.close();
  });

  it('backs up once a day, and keeps seven', async () => {
    const state = HostState.open(dir);
    const day = 86_400_000;
    const backups = (): number => readdirSync(join(dir, 'backups')).length;
    const now = Date.now();
    for (let i = 0; i < 10; i++) {
      await state.backUp(now + i * day);
      expect(backups()).toBe(Math.min(i + 1, 7));
      await state.backUp(now + i * day + day - 1);
      expect(backups()).toBe(Math.min(i + 1, 7));
    }
    state.close();
  });
});
