import { describe, expect, it } from 'vitest';
import { loadFolder, sharedDir } from '../../test/support/model.ts';
import { byteLevel, bytePieces, pieceTokenizer } from '../../test/support/piece-tokenizer.ts';
import { TokenBytes } from './token-bytes.ts';
import { TokenText } from './token-text.ts';

const gpt2 = await pieceTokenizer('byte-level', [...bytePieces('byte-level'), byteLevel(' word'), byteLevel('日本'), byteLevel('本').slice(0, 2)]);
const sentencePiece = await pieceTokenizer('byte-fallback', [...bytePieces('byte-fallback'), '\u2581word', '日本', '\u2581']);

describe('TokenBytes', () => {
  it('knows every byte of either kind of vocabulary', () => {
    for (const tokenizer of [gpt2, sentencePiece]) {
      const tokens = TokenBytes.of(tokenizer);
      expect(tokens.exact).toBe(true);
      for (let byte = 0; byte < 256; byte++) expect([...tokens.bytes(byte)!]).toEqual([byte]);
      expect(Buffer.from(tokens.bytes(256)!).toString()).toBe(' word');
      expect(Buffer.from(tokens.bytes(257)!).toString()).toBe('日本');
    }
    expect([...TokenBytes.of(gpt2).bytes(258)!]).toEqual([0xe6, 0x9c]);
    expect([...TokenBytes.of(sentencePiece).bytes(258)!]).toEqual([0x20]);
  });

  it('knows what texts leave out', () => {
    const tokens = TokenBytes.of(gpt2);
    expect(tokens.isSpecial(259)).toBe(true);
    expect(tokens.isSpecial(256)).toBe(false);
  });

  const shared = sharedDir();
  it.skipIf(shared === undefined)('knows the vocabulary of a real checkpoint (needs ../shared)', async () => {
    const { model, tokenizer } = await loadFolder(`${shared}/models/stories260k`);
    model.dispose();
    const tokens = TokenBytes.of(tokenizer);
    expect(tokens.exact).toBe(true);
    const text = 'Once upon a time — «été» 日本 😀';
    const spelled = Buffer.concat([...tokenizer.encode(text, { addSpecialTokens: false })].map((id) => tokens.bytes(id)!)).toString();
    expect(spelled).toBe(` ${text}`);
  });
});

describe('TokenText', () => {
  it('shows a part of a character by its bytes', () => {
    expect(new TokenText(gpt2).of(258, false)).toEqual({ token: 'bytes:\\xe6\\x9c', bytes: [0xe6, 0x9c] });
  });

  it('leaves out the space that a text leaves out at its beginning, and no other', () => {
    const text = new TokenText(sentencePiece);
    expect(text.of(256, true).token).toBe('word');
    expect(text.of(256, false).token).toBe(' word');
    expect(new TokenText(gpt2).of(256, true).token).toBe(' word');
  });
});
