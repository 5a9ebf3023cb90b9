import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readRows, RowProblem, tokeniseFiles, type RunEvent, type Tokenised, type TokeniseJob } from 'graft';
import { tinyTokenizer } from '../support/tokenizer.ts';

const tokenizer = await tinyTokenizer();

/** A folder with data, and a way to tokenise it that counts the rows it was asked to tokenise. */
function setUp(rows: readonly unknown[]) {
  const dir = mkdtempSync(join(tmpdir(), 'graft-tokenise-'));
  const file = join(dir, 'data.jsonl');
  const write = (all: readonly unknown[]): void => writeFileSync(file, all.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
  write(rows);
  const cacheDir = join(dir, 'cache');
  const events: RunEvent[] = [];
  const asked: number[] = [];
    const run = (changes: Partial<TokeniseJob> = {}, signal = new AbortController().signal): Promise<Tokenised> =>
    tokeniseFiles({
      call: { signal, cacheDir, tokenizer, emit: (event) => void events.push(event) },
      files: [file],
      key: 'one',
      badRows: 'stop',
      read: readRows,
      tokenise: (row) => {
        asked.push(row.line);
        if (typeof row.value['text'] !== 'string') throw new RowProblem('the field "text" is missing');
        const inputIds = tokenizer.encode(row.value['text']);
        return [{ inputIds, labels: inputIds.map((id, i) => (i === 0 ? -100 : id)), info: { file, line: row.line, fullLength: inputIds.length + 2, truncated: 2, endOfTurnTrained: [undefined, true, false][row.line % 3] } }];
      },
      notes: () => ['A note.'],
      ...changes,
    });
  const cacheFiles = (): readonly string[] => readdirSync(join(cacheDir, 'examples')).map((name) => join(cacheDir, 'examples', name));
  const said = (): readonly string[] => events.flatMap((event) => (event.type === 'log' ? [`${event.level}: ${event.message}`] : []));
  return { dir, file, write, run, events, asked, cacheFiles, said };
}

const texts = [{ text: 'one' }, { text: 'the two' }, { text: 'ünd drei' }, { text: 'four' }];

describe('the cache of tokenised examples', () => {
  it('gives back what was tokenised, says so, and repeats its warnings', async () => {
    const { run, asked, cacheFiles, said } = setUp([...texts, { no: 1 }]);
    const first = await run({ badRows: 'skip' });
    expect(asked).toEqual([1, 2, 3, 4, 5]);
    const second = await run({ badRows: 'skip' });
    expect(asked).toHaveLength(5);
    expect(second).toEqual(first);
    const warnings = said().filter((each) => each.startsWith('warn'));
    expect(warnings).toHaveLength(4);
    expect(warnings.slice(2)).toEqual(warnings.slice(0, 2));
    expect(said().filter((each) => each.startsWith('info'))).toEqual([`info: Using 4 tokenised examples from the cache ${cacheFiles()[0]}.`]);
  });

  it('is not used for other contents, even of the same size and age', async () => {
    const { run, write, asked } = setUp(texts);
    await run();
    write([{ text: 'oNe' }, ...texts.slice(1)]);
    const { examples } = await run();
    expect(asked).toHaveLength(8);
    expect([...examples[0]!.inputIds]).toEqual([...tokenizer.encode('oNe')]);
  });

  it('is not used for other options, other code, another tokenizer, another policy or fewer rows', async () => {
    const { run, cacheFiles, file } = setUp(texts);
    await run();
    await run({ key: 'two' });
    await run({ badRows: 'skip' });
    await run({ maxRows: 2 });
    const other = await tinyTokenizer({ eosTokenIds: [3] });
    await run({ call: { signal: new AbortController().signal, cacheDir: join(file, '../cache'), tokenizer: other, emit: () => undefined } });
    expect(cacheFiles()).toHaveLength(5);
  });

  it('is made anew, and said to be, when a byte of it changed or its end is missing', async () => {
    for (const damage of [(bytes: Buffer) => bytes.fill(bytes[200]! ^ 1, 200, 201), (bytes: Buffer) => bytes.subarray(0, bytes.length - 9), (bytes: Buffer) => bytes.subarray(0, 40), () => Buffer.from('something else entirely, that is no cache')]) {
      const { run, asked, cacheFiles, said } = setUp(texts);
      const first = await run();
      const [path] = cacheFiles();
      writeFileSync(path!, damage(readFileSync(path!)));
      expect(await run()).toEqual(first);
      expect(asked).toHaveLength(8);
      expect(said().some((each) => /^warn: The cache .*\.bin is damaged \(.+\) and is made anew\.$/.test(each))).toBe(true);
      await run();
      expect(asked).toHaveLength(8);
    }
  });

  it('leaves no file behind when tokenising fails, and no half of one beside the whole', async () => {
    const { run, dir, cacheFiles } = setUp([...texts, '{']);
    await expect(run()).rejects.toMatchObject({ code: 'BAD_ROW' });
    expect(readdirSync(dir)).toEqual(['data.jsonl']);
    await run({ badRows: 'skip' });
    expect(cacheFiles().map((path) => path.endsWith('.bin'))).toEqual([true]);
  });

  it('goes on without one where it cannot be written', async () => {
    const { run, dir, said } = setUp(texts);
    writeFileSync(join(dir, 'cache'), 'a file where the folder should be');
    expect((await run()).examples).toHaveLength(4);
    expect(said().at(-1)).toMatch(/could not be cached in .* The run goes on without\.$/);
  });
});

describe('bad rows', () => {
  it('stop with file, line, reason and what to do', async () => {
    const { run, file } = setUp([texts[0], { no: 1 }]);
    await expect(run()).rejects.toMatchObject({
      code: 'BAD_ROW',
      message: `${file}:2: the field "text" is missing.`,
      hint: 'Mend the row, or set `on_bad_row: skip` to leave such rows out and have them counted.',
    });
  });

  it('are counted and the first reasons kept, with skip', async () => {
    const { run, file, said } = setUp([...Array.from({ length: 7 }, () => ({ no: 1 })), '{"text"', texts[0]]);
    const { badRows, examples } = await run({ badRows: 'skip' });
    expect(badRows.count).toBe(8);
    expect(examples).toHaveLength(1);
    expect(said()[0]).toBe(`warn: 8 bad rows were left out:\n${[1, 2, 3, 4, 5].map((line) => `  ${file}:${line}: the field "text" is missing\n`).join('')}  and 3 more`);
  });

  it('do not hide a fault of the code', async () => {
    const { run } = setUp(texts);
    const fault = new TypeError('undefined is not a function');
    await expect(run({ badRows: 'skip', tokenise: () => { throw fault; } })).rejects.toBe(fault);
  });
});

describe('reading long files', () => {
  const many = Array.from({ length: 3000 }, (_, index) => ({ text: `${index} ${'the inner house '.repeat(20)}` }));

  it('reports rows, never more done than there are, and all at the end', async () => {
    const { run, events } = setUp(many);
    await run();
    const progress = events.flatMap((event) => (event.type === 'progress' ? [event] : []));
    expect(progress.at(-1)).toEqual({ type: 'progress', label: 'tokenising data.jsonl', done: 3000, total: 3000, unit: 'rows' });
    for (const event of progress) expect(event.done).toBeLessThanOrEqual(event.total);
  });

  it('lets others have the event loop in between', async () => {
    const { run } = setUp(texts.concat(texts, texts, texts));
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    const slowly = (): [] => {
      const until = performance.now() + 20;
      while (performance.now() < until);
      return [];
    };
    await run({ tokenise: slowly });
    clearInterval(timer);
    // 16 rows of 20 ms are 320 ms of work.
    expect(turns).toBeGreaterThan(3);
  });

  it('stops when cancelled, and caches nothing', async () => {
    const { run, dir } = setUp(many);
    const controller = new AbortController();
    let rows = 0;
    const cancelling = (): [] => {
      if (++rows === 100) controller.abort(new Error('enough'));
      return [];
    };
    await expect(run({ tokenise: cancelling }, controller.signal)).rejects.toThrow('enough');
    expect(rows).toBe(100);
    expect(readdirSync(dir)).toEqual(['data.jsonl']);
  });

  it('stops after the rows asked for, bad ones not counted', async () => {
    const { run, asked } = setUp([{ no: 1 }, ...texts]);
    expect((await run({ badRows: 'skip', maxRows: 2 })).examples).toHaveLength(2);
    expect(asked).toEqual([1, 2, 3]);
  });
});
