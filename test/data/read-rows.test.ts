import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { readDocuments, readRows } from 'graft';

const dir = mkdtempSync(join(tmpdir(), 'graft-rows-'));
let files = 0;

/** Writes a file and reads its rows: values as they are, problems as `line:column problem`. */
async function rowsOf(name: string, contents: string | Uint8Array): Promise<readonly unknown[]> {
  const file = join(dir, `${files++}-${name}`);
  writeFileSync(file, contents);
  const rows: unknown[] = [];
  for await (const row of readRows(file)) {
    expect(row.file).toBe(file);
    rows.push('problem' in row ? `${row.line}${row.column === undefined ? '' : `:${row.column}`} ${row.problem}` : [row.line, row.value]);
  }
  return rows;
}

describe('JSON lines', () => {
  it('knows the line of each row, through empty lines, CRLF, a byte order mark and a missing last line end', async () => {
    expect(await rowsOf('a.jsonl', '\ufeff{"a":1}\r\n\r\n  \n{"a":"é\\u00e9"}\n{"a":3}')).toEqual([[1, { a: 1 }], [4, { a: 'éé' }], [5, { a: 3 }]]);
  });

  it('says line, column and what was expected, and goes on with the next line', async () => {
    expect(await rowsOf('a.jsonl', '{"a" 1}\n{"a":1,}\n{"a":tru}\n{"a":"\t"}\n{"a":"\\x"}\n{"a":01}\n{"a":1} 2\n{"ok":1}\n')).toEqual([
      '1:6 this is not valid JSON: expected : but found "1"',
      '2:8 this is not valid JSON: there is a comma before }',
      '3:6 this is not valid JSON: expected a value but found "t"',
      '4:7 this is not valid JSON: a string holds the control character U+0009; write it as an escape such as \\n',
      '5:7 this is not valid JSON: \\x is not an escape that JSON knows',
      '6:7 this is not valid JSON: expected , or } but found "1"',
      '7:9 this is not valid JSON: expected the end but found "2"',
      [8, { ok: 1 }],
    ]);
  });

  it('explains an object that goes over several lines', async () => {
    expect((await rowsOf('a.json', '{\n  "a": 1\n}\n'))[0]).toBe('1:2 this is not valid JSON: expected a property name in double quotes but the text ends (a file that does not begin with [ has one object a line)');
  });

  it('refuses a row that is no object', async () => {
    expect(await rowsOf('a.jsonl', '3\n"x"\nnull\n[1]\n')).toEqual([
      '1 a row must be an object with named fields, and this is a number',
      '2 a row must be an object with named fields, and this is a string',
      '3 a row must be an object with named fields, and this is null',
      '4 a row must be an object with named fields, and this is a list',
    ]);
  });

  it('says that text is not UTF-8 instead of reading it as something else', async () => {
    expect(await rowsOf('a.jsonl', Buffer.from([0x7b, 0x22, 0xe9, 0x22, 0x7d, 10]))).toEqual(['1 the text is not valid UTF-8; convert the file to UTF-8']);
    expect((await rowsOf('a.jsonl', Buffer.from('\ufeff{"a":1}', 'utf16le')))[0]).toBe('1 the file is UTF-16; convert it to UTF-8');
  });

  it('reads nothing from an empty file', async () => {
    expect(await rowsOf('a.jsonl', '')).toEqual([]);
    expect(await rowsOf('a.json', ' \n')).toEqual([]);
  });

  it('reads rows longer than a chunk of the file', async () => {
    const long = 'é'.repeat(700_000);
    expect(await rowsOf('a.jsonl', `${JSON.stringify({ long })}\n{"a":2}\n`)).toEqual([[1, { long }], [2, { a: 2 }]]);
  });
});

describe('JSON arrays', () => {
  it('knows the line on which each element begins, whatever the file is called', async () => {
    const text = '[\n  {"a": 1},\n\n  {\n    "a": "]}, {"\n  }, {"a": "\\""}\n]\n';
    for (const name of ['a.json', 'a.jsonl']) expect(await rowsOf(name, text)).toEqual([[2, { a: 1 }], [4, { a: ']}, {' }], [6, { a: '"' }]]);
    expect(await rowsOf('a.json', '[]')).toEqual([]);
  });

  it('places a mistake inside an element of several lines, and goes on with the next', async () => {
    expect(await rowsOf('a.json', '[\n  {\n    "a": 1,\n    "b": nope\n  },\n  {"a": 2}\n]')).toEqual(['4:10 this is not valid JSON: expected a value but found "n"', [6, { a: 2 }]]);
  });

  it('tells an array that is not closed from other mistakes of structure', async () => {
    expect(await rowsOf('a.json', '[{"a":1},\n{"a":2}\n')).toEqual([[1, { a: 1 }], '3:1 the array is not closed with ]']);
    expect(await rowsOf('a.json', '[{"a":[1},{"a":2}]')).toEqual(['1:9 this is not valid JSON: expected , or ] but found "}"']);
    expect(await rowsOf('a.json', '[{"a":1},]')).toEqual([[1, { a: 1 }], '1:10 there is a comma before ]']);
    expect(await rowsOf('a.json', '[,{"a":1}]')).toEqual(['1:2 there is a comma where an object should begin']);
    expect(await rowsOf('a.json', '[{"a":1}] {"a":2}')).toEqual([[1, { a: 1 }], '1:11 there is more text after the array']);
  });

  it('reads an array of many elements across chunks', async () => {
    const elements = Array.from({ length: 20_000 }, (_, a) => ({ a, text: 'x'.repeat(a % 50) }));
    const rows = await rowsOf('a.json', JSON.stringify(elements));
    expect(rows).toHaveLength(20_000);
    expect(rows[19_999]).toEqual([1, elements[19_999]]);
  });
});

describe('CSV', () => {
  it('reads quoted values over several lines, with LF between them, and knows where each row begins', async () => {
    expect(await rowsOf('a.csv', '\ufeffa,b\r\n1,"x\r\n""y"""\r\n\r\n2,z')).toEqual([[2, { a: '1', b: 'x\n"y"' }], [5, { a: '2', b: 'z' }]]);
  });

  it('separates .tsv with tabs', async () => {
    expect(await rowsOf('a.tsv', 'a\tb\n1,2\t3\n')).toEqual([[2, { a: '1,2', b: '3' }]]);
  });

  it('reports a row with too few or too many values and goes on', async () => {
    expect(await rowsOf('a.csv', 'a,b\n1\n1,2,3\n4,5\n')).toEqual(['2 the row has 1 value and the header 2 columns', '3 the row has 3 values and the header 2 columns', [4, { a: '4', b: '5' }]]);
  });

  it('reports a quotation mark that is never closed, where its row begins', async () => {
    expect(await rowsOf('a.csv', 'a,b\n1,2\n3,"oops\n5,6\n')).toEqual([[2, { a: '1', b: '2' }], '3 this and what follows is not valid CSV: a quotation mark that opens in this row is never closed']);
  });

  it('reports a row that is not UTF-8 and goes on; refuses a file that is UTF-16', async () => {
    expect(await rowsOf('a.csv', Buffer.from('a,b\n1,caf\xe9\n2,ok\n', 'latin1'))).toEqual(['2 the text is not valid UTF-8; convert the file to UTF-8', [3, { a: '2', b: 'ok' }]]);
    await expect(rowsOf('a.csv', Buffer.from('\ufeffa,b\n1,2\n', 'utf16le'))).rejects.toThrow(/a\.csv:1: the file is UTF-16; convert it to UTF-8\.$/);
  });

  it('refuses a header that names a column twice', async () => {
    await expect(rowsOf('a.csv', 'a,b,a\n1,2,3\n')).rejects.toThrow(/a\.csv:1: the header names the column "a" twice\.$/);
  });
});

describe('Parquet', () => {
  const columnData = [
    { name: 'instruction', data: ['one', 'two', 'three'], type: 'STRING' as const },
    { name: 'n', data: [1, 2, 3], type: 'INT32' as const },
  ];

  it('reads rows of several row groups and numbers them', async () => {
    expect(await rowsOf('a.parquet', new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 2 })))).toEqual([
      [1, { instruction: 'one', n: 1 }],
      [2, { instruction: 'two', n: 2 }],
      [3, { instruction: 'three', n: 3 }],
    ]);
  });

  // Written by pyarrow: five rows of {id: int64, messages: list<struct<role, content, weight: int64>>} in three row groups.
  const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.parquet`, import.meta.url));

  it('reads lists of objects, gzip, and 64-bit integers as numbers', async () => {
    const rows: unknown[] = [];
    for await (const row of readRows(fixture('conversations-gzip'))) rows.push([row.line, 'value' in row && row.value]);
    expect(rows).toHaveLength(5);
    expect(rows[3]).toEqual([4, { id: 3, messages: [{ role: 'user', content: 'Q3 é🙂', weight: null }, { role: 'assistant', content: 'A3', weight: 1 }] }]);
  });

  it('says which compression it does not know, and what to do', async () => {
    await expect(readRows(fixture('conversations-lz4')).next()).rejects.toMatchObject({
      code: 'DATA_FILE',
      message: `${fixture('conversations-lz4')} cannot be read as Parquet: parquet unsupported compression codec: LZ4_RAW.`,
      hint: 'Write it with snappy, gzip or brotli.',
    });
  });

  it('says that a file is no Parquet file, or is damaged', async () => {
    await expect(rowsOf('a.parquet', 'not parquet at all, but long enough')).rejects.toThrow(/a\.parquet cannot be read as Parquet: /);
    await expect(rowsOf('a.parquet', new Uint8Array(parquetWriteBuffer({ columnData })).slice(0, -20))).rejects.toThrow(/cannot be read as Parquet: /);
  });
});

describe('files', () => {
  it('unpacks .gz', async () => {
    expect(await rowsOf('a.jsonl.gz', gzipSync('{"a":1}\n'))).toEqual([[1, { a: 1 }]]);
    expect(await rowsOf('a.csv.gz', gzipSync('a\n1\n'))).toEqual([[2, { a: '1' }]]);
  });

  it('says that a .gz file is not gzip, or is cut off', async () => {
    await expect(rowsOf('a.jsonl.gz', '{"a":1}')).rejects.toThrow(/a\.jsonl\.gz cannot be read: incorrect header check\.$/);
    await expect(rowsOf('a.jsonl.gz', gzipSync('{"a":1}\n'.repeat(1000)).subarray(0, 40))).rejects.toThrow(/cannot be read: unexpected end of file\.$/);
  });

  it('says which extensions it knows', async () => {
    await expect(rowsOf('a.xlsx', '')).rejects.toMatchObject({ code: 'DATA_FORMAT', hint: 'Known are .json, .jsonl, .ndjson, .csv, .tsv, .parquet, and all but .parquet with .gz.' });
  });
});

describe('plain text', () => {
  async function documentsOf(contents: string | Uint8Array, separator?: string): Promise<readonly unknown[]> {
    const file = join(dir, `${files++}.txt`);
    writeFileSync(file, contents);
    const rows: unknown[] = [];
    for await (const row of readDocuments(file, separator)) rows.push('problem' in row ? `${row.line} ${row.problem}` : [row.line, row.value['text']]);
    return rows;
  }

  it('takes a whole file as one document, with LF line ends and no byte order mark', async () => {
    expect(await documentsOf('\ufeffone\r\ntwo\r\n')).toEqual([[1, 'one\ntwo\n']]);
    expect(await documentsOf(' \n')).toEqual([]);
  });

  it('splits at a separator, drops what is empty and knows where each document begins', async () => {
    expect(await documentsOf('a\nb\r\n\r\nc\n\n\n\n\nd', '\n\n')).toEqual([[1, 'a\nb'], [4, 'c'], [9, '\nd']]);
    expect(await documentsOf('a\r\n\r\nb', '\r\n\r\n')).toEqual([[1, 'a'], [3, 'b']]);
    expect(await documentsOf('a<|sep|>b\n<|sep|>', '<|sep|>')).toEqual([[1, 'a'], [1, 'b\n']]);
  });

  it('finds separators and line ends that lie across chunks of the file', async () => {
    const document = 'x'.repeat(131_071);
    const text = Array.from({ length: 9 }, () => document).join('\r\n');
    expect(await documentsOf(text, '\n')).toEqual(Array.from({ length: 9 }, (_, index) => [index + 1, document]));
  });

  it('says that text is not UTF-8', async () => {
    expect(await documentsOf(Buffer.from([0x61, 0xff, 0x62]))).toEqual(['1 the text from about here on is not valid UTF-8; convert the file to UTF-8']);
    expect(await documentsOf(Buffer.from([0x61, 0xc3]))).toEqual(['1 the file ends within a UTF-8 character; it is probably cut off']);
  });
});
