import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dataFiles } from 'graft';

const dir = mkdtempSync(join(tmpdir(), 'graft-files-'));
mkdirSync(join(dir, 'sub/deep'), { recursive: true });
mkdirSync(join(dir, '.hidden'));
for (const name of ['a.jsonl', 'b.jsonl', 'b.csv', 'odd[1].jsonl', 'sub/c.jsonl', 'sub/deep/d.jsonl', '.hidden/e.jsonl']) writeFileSync(join(dir, name), '');

const found = async (data: string | readonly string[]): Promise<readonly string[]> => (await dataFiles(data, dir, ['data'])).map((file) => relative(dir, file));

describe('dataFiles', () => {
  it('takes a path, relative to the config or absolute', async () => {
    expect(await found('a.jsonl')).toEqual(['a.jsonl']);
    expect(await found(join(dir, 'sub/c.jsonl'))).toEqual(['sub/c.jsonl']);
  });

  it('takes globs, sorted, and leaves hidden folders out', async () => {
    expect(await found('?.jsonl')).toEqual(['a.jsonl', 'b.jsonl']);
    expect(await found('b.*')).toEqual(['b.csv', 'b.jsonl']);
    expect(await found('b.{csv,jsonl}')).toEqual(['b.csv', 'b.jsonl']);
    expect(await found('[!a].jsonl')).toEqual(['b.jsonl']);
    expect(await found('sub/*.jsonl')).toEqual(['sub/c.jsonl']);
    expect(await found('**/*.jsonl')).toEqual(['a.jsonl', 'b.jsonl', 'odd[1].jsonl', 'sub/c.jsonl', 'sub/deep/d.jsonl']);
  });

  it('takes a list in its order, each file once', async () => {
    expect(await found(['b.jsonl', '*.jsonl'])).toEqual(['b.jsonl', 'a.jsonl', 'odd[1].jsonl']);
  });

  it('takes a file whose name looks like a glob as it is written', async () => {
    expect(await found('odd[1].jsonl')).toEqual(['odd[1].jsonl']);
  });

  it('names the option and the path where nothing is there', async () => {
    await expect(found('no.jsonl')).rejects.toMatchObject({ code: 'DATA_NOT_FOUND', option: ['data'], message: `There is no file ${join(dir, 'no.jsonl')}.` });
    await expect(found(['a.jsonl', '*.parquet'])).rejects.toMatchObject({ code: 'DATA_NOT_FOUND', option: ['data', 1], message: `No file matches ${join(dir, '*.parquet')}.` });
    await expect(found('sub')).rejects.toMatchObject({ message: `${join(dir, 'sub')} is a folder, not a data file.`, hint: `Name its files with a glob, such as ${join(dir, 'sub/*.jsonl')}.` });
  });
});
