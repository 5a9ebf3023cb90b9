import { existsSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { sharedDir } from '../../test/support/model.ts';
import { bench } from '../../test/support/preprocess.ts';
import { readTokenizer, tinyTokenizer } from '../../test/support/tokenizer.ts';
import text from './index.ts';

const tokenizer = await tinyTokenizer();

/** The sequences of files as text, special tokens shown. */
async function chunks(files: Readonly<Record<string, string | Uint8Array>>, options: Readonly<Record<string, unknown>> = {}) {
  const { run, file, said } = bench(text, { tokenizer });
  const data = Object.entries(files).map(([name, contents]) => file(name, contents));
  const dataset = await run({ data, ...options });
  return { dataset, texts: dataset.train.map((packed) => tokenizer.decode(packed.inputIds, { skipSpecialTokens: false })), said };
}

describe('text', () => {
  it('puts BOS and EOS around each document, and trains on every token', async () => {
    const { dataset, texts } = await chunks({ 'a.txt': 'one', 'b.md': 'two\n' });
    expect(texts).toEqual(['<s>one</s>', '<s>two\n</s>']);
    for (const { inputIds, labels } of dataset.train) expect([...labels]).toEqual([...inputIds]);
    expect(dataset.info.every((info) => info.endOfTurnTrained === undefined)).toBe(true);
    expect((await chunks({ 'a.txt': 'one' }, { add_bos: false, add_eos: false })).texts).toEqual(['one']);
  });

  it('splits plain text at a separator, and takes a field of rows', async () => {
    const { texts, dataset } = await chunks({ 'a.txt': 'one\n\ntwo', 'b.jsonl': '{"text":"three"}\n', 'c.csv': 'text\nfour\n', 'd.txt.gz': gzipSync('five') }, { separator: '\n\n' });
    expect(texts).toEqual(['<s>one</s>', '<s>two</s>', '<s>three</s>', '<s>four</s>', '<s>five</s>']);
    expect(dataset.info.map((info) => info.line)).toEqual([1, 3, 1, 2, 1]);
    expect((await chunks({ 'a.jsonl': '{"body":"x1"}' }, { text_field: 'body' })).texts).toEqual(['<s>x1</s>']);
  });

  it('cuts a document into chunks, never leaving one token alone', async () => {
    const { texts } = await chunks({ 'a.txt': 'abcdefghijklmno', 'b.txt': 'abcdefghijklmnopq' }, { max_length: 8 });
    // 17 tokens are 8, 7 and 2; 19 tokens are 8, 8 and 3.
    expect(texts).toEqual(['<s>abcdefg', 'hijklmn', 'o</s>', '<s>abcdefg', 'hijklmno', 'pq</s>']);
  });

  it('fills every chunk across documents when asked to, and loses nothing', async () => {
    const { texts, dataset } = await chunks({ 'a.jsonl': '{"text":"abcde"}\n{"text":"fgh"}\n{"text":"ijklmno"}\n' }, { max_length: 8, across_documents: true });
    expect(texts).toEqual(['<s>abcde</s><s>', 'fgh</s><s>ijk', 'lmno</s>']);
    expect(dataset.info.map((info) => info.line)).toEqual([1, 2, 3]);
    expect(dataset.train.map((packed) => [...packed.offsets])).toEqual([[0, 8], [0, 8], [0, 5]]);
  });

  it('packs chunks into sequences, each a segment', async () => {
    const { texts, dataset } = await chunks({ 'a.jsonl': '{"text":"abc"}\n{"text":"d"}\n{"text":"efghij"}\n' }, { max_length: 8, packing: true });
    expect(texts).toEqual(['<s>efghij</s>', '<s>abc</s><s>d</s>']);
    expect(dataset.train.map((packed) => [...packed.offsets])).toEqual([[0, 8], [0, 5, 8]]);
  });

  it('holds whole documents out, or chunks where there is one document', async () => {
    const documents = Array.from({ length: 10 }, (_, index) => JSON.stringify({ text: String.fromCharCode(97 + index).repeat(20) })).join('\n');
    const { dataset } = await chunks({ 'a.jsonl': documents }, { max_length: 8, eval_split: 0.3 });
    const [train, held] = [dataset.info, dataset.evalInfo!].map((infos) => new Set(infos.map((info) => info.line)));
    expect([train!.size, held!.size]).toEqual([7, 3]);
    const one = await chunks({ 'a.txt': 'x'.repeat(78) }, { max_length: 8, eval_split: 0.3 });
    expect([one.dataset.train.length, one.dataset.eval.length]).toEqual([7, 3]);
  });

  it('reports rows without text, and leaves them out when asked to', async () => {
    await expect(chunks({ 'a.jsonl': '{"txt":"a"}' })).rejects.toThrow(/a\.jsonl:1: the field "text" is missing \(there is "txt"\); name the one that holds the text with text_field\.$/);
    await expect(chunks({ 'a.jsonl': '{"text":3}' })).rejects.toThrow(/:1: the field "text" must be text, and is a number\.$/);
    await expect(chunks({ 'a.jsonl': '{"text":" "}' })).rejects.toThrow(/:1: the field "text" is empty\.$/);
    await expect(chunks({ 'a.jsonl': '{"text":"\\ud83d"}' })).rejects.toThrow(/:1: the field "text" has an unpaired surrogate \(\\ud83d\) at character 1/);
    await expect(chunks({ 'a.txt': '' })).rejects.toMatchObject({ code: 'NO_EXAMPLES' });
    await expect(chunks({ 'a.jsonl': '{"text":"ab"}' }, { separator: '\n' })).rejects.toMatchObject({ code: 'SEPARATOR_UNUSED', option: ['separator'] });
    const { texts, said, dataset } = await chunks({ 'a.jsonl': '{"text":3}\n{"text":"ab"}\n' }, { on_bad_row: 'skip' });
    expect(texts).toEqual(['<s>ab</s>']);
    expect(dataset.stats.badRows).toBe(1);
    expect(said()[0]).toMatch(/^1 bad row was left out:\n {2}.*a\.jsonl:1: the field "text" must be text, and is a number$/);
  });

  it('reads documents up to max_samples', async () => {
    expect((await chunks({ 'a.txt': 'a b c' }, { separator: ' ', max_samples: 2 })).texts).toEqual(['<s>a</s>', '<s>b</s>']);
  });

  it('says that the tokenizer has no end token, where documents are to end with one', async () => {
    const { run, file } = bench(text, { tokenizer: Object.assign(Object.create(tokenizer) as typeof tokenizer, { eosToken: undefined, eosTokenIds: [] }) });
    await expect(run({ data: file('a.txt', 'a') })).rejects.toMatchObject({ code: 'NO_EOS', option: ['add_eos'], message: 'add_eos is set, and the tokenizer has no end token.' });
  });
});

const shared = sharedDir();
const present = shared !== undefined && existsSync(`${shared}/data/wiki_demo.txt`);
if (!present) console.warn('Skipped: ../shared is not here, so no real text is cut into chunks.');

describe.skipIf(!present)('text, on real articles', () => {
  it('loses no token: the chunks of each article are its tokens', async () => {
    const model = `${shared}/models/stories260k`;
    const real = await readTokenizer(model, [2]);
    const { run } = bench(text, { tokenizer: real });
    const { train, stats } = await run({ data: `${shared}/data/wiki_demo.txt`, separator: '\n', max_length: 256, max_samples: 2 });
    const [first] = train;
    expect([...first!.inputIds.subarray(0, 2)]).toEqual([1, real.encode('Anarchism')[1]]);
    expect(stats.examples).toBe(train.length);
    const all = train.flatMap((packed) => [...packed.inputIds]);
    expect(all.filter((id) => id === 1)).toHaveLength(2);
    expect(all.filter((id) => id === 2)).toHaveLength(2);
    expect(stats.tokens).toBe(all.length);
    for (const { inputIds } of train) expect(inputIds.length).toBeLessThanOrEqual(256);
    expect(real.decode(all.slice(0, all.indexOf(2)))).toMatch(/^Anarchism is a political philosophy and movement/);
  });
});
