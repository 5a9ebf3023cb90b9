import { describe, expect, it } from 'vitest';
import { encodeJoint, encodeStart } from '../../core/data/chat/encode.ts';
import { bench, marked } from '../../test/support/preprocess.ts';
import { tinyTokenizer } from '../../test/support/tokenizer.ts';
import instruct from './index.ts';

const tokenizer = await tinyTokenizer();
const plain = (text: string): Int32Array => tokenizer.encode(text, { addSpecialTokens: false });

describe('encodeJoint', () => {
  it('gives the tokens of the text as one, where no token lies across a boundary', () => {
    const { pieces, cuts } = encodeJoint(tokenizer, ['the ', 'inner', ' house'], true);
    expect(cuts).toBe(0);
    expect(pieces.flatMap((ids) => [...ids])).toEqual([...tokenizer.encode('the inner house')]);
    expect(pieces.map((ids) => tokenizer.decode(ids, { skipSpecialTokens: false }))).toEqual(['<s>the ', 'inner', ' house']);
  });

  it('cuts where a token would lie across, so that what stands before has the tokens that it has alone', () => {
    expect([...plain('a\n\nb')]).toHaveLength(3);
    const { pieces, cuts } = encodeJoint(tokenizer, ['a\n', '\nb\n', '\nc'], true);
    expect(cuts).toBe(2);
    expect(pieces.map((ids) => [...ids])).toEqual([[...tokenizer.encode('a\n')], [...plain('\nb\n')], [...plain('\nc')]]);
  });

  it('goes on as one text after a cut', () => {
    const { pieces, cuts } = encodeJoint(tokenizer, ['a\n', '\n th', 'e'], false);
    expect(cuts).toBe(2);
    expect(pieces.map((ids) => tokenizer.decode(ids))).toEqual(['a\n', '\n th', 'e']);
  });

  it('takes empty pieces', () => {
    expect(encodeJoint(tokenizer, ['', 'a', ''], true)).toEqual({ pieces: [Int32Array.of(0), plain('a'), new Int32Array(0)], cuts: 0 });
  });
});

describe('encodeStart', () => {
  it('begins with BOS, and leaves out an end token that the tokenizer adds by itself', () => {
    expect([...encodeStart(tokenizer, 'a')]).toEqual([0, ...plain('a')]);
    const adding = { ...tokenizer, eosTokenIds: tokenizer.eosTokenIds, encode: (text: string, { addSpecialTokens = true } = {}) => Int32Array.from([...plain(text), ...(addSpecialTokens ? [1] : [])]) };
    expect([...encodeStart(adding as typeof tokenizer, 'a')]).toEqual([...plain('a')]);
    expect([...encodeStart(tokenizer, 'a</s>')]).toEqual([0, ...plain('a'), 1]);
  });
});

describe('boundary', () => {
  const row = JSON.stringify({ prompt: 'a\n', completion: '\nb' });
  const ids = async (boundary: string) => {
    const { run, file, said } = bench(instruct, { tokenizer });
    const { train } = await run({ data: file('data.jsonl', row), boundary });
    return { ids: [...train[0]!.inputIds], text: marked(train, tokenizer)[0], said: said() };
  };

  it('split and joint both keep the prompt as a server sends it; joint says that it had to cut', async () => {
    const split = await ids('split');
    const joint = await ids('joint');
    expect(split.text).toBe('<s>a\n[\nb</s>]');
    expect(joint.ids).toEqual(split.ids);
    expect(split.said).toEqual([]);
    expect(joint.said).toEqual(['At 1 boundaries between what is given and what is learned a token would have lain across; the text is tokenised apart there.']);
  });
});
