import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Detokenizer } from 'graft';
import { readJson, temporaryFolder } from '../../test/support/checkpoint.ts';
import { oracleDir, sharedDir } from '../../test/support/model.ts';
import { LlamaTokenizer, type TokenizerContext } from './tokenizer.ts';

const TOKENIZERS = join(oracleDir(), 'llama/tokenizers');
const CONTEXT: TokenizerContext = { eosTokenIds: [2] };

/** Ids, text without and text with special tokens, of each text, by transformers. */
type Case = readonly [number[], string, string];
const cases = (await readJson(join(TOKENIZERS, 'cases.json'))) as { readonly texts: string[] } & Readonly<Record<'stories260k' | 'bytelevel' | 'metaspace', Case[]>>;

async function expectSame(dir: string, name: 'stories260k' | 'bytelevel' | 'metaspace') {
  const tokenizer = await LlamaTokenizer.read(dir, CONTEXT);
  expect(cases.texts.length).toBe(200);
  const got = cases.texts.map((text, i) => {
    const [ids] = cases[name][i]!;
    return [[...tokenizer.encode(text)], tokenizer.decode(ids), tokenizer.decode(ids, { skipSpecialTokens: false })];
  });
  got.forEach((row, i) => expect(row, JSON.stringify(cases.texts[i])).toEqual(cases[name][i]));
}

/** A copy of a tokenizer with other settings. */
async function withSettings(settings: Record<string, unknown>, template?: string): Promise<string> {
  const dir = await temporaryFolder();
  await cp(join(TOKENIZERS, 'metaspace'), dir, { recursive: true });
  const before = JSON.parse(await readFile(join(dir, 'tokenizer_config.json'), 'utf8')) as object;
  await writeFile(join(dir, 'tokenizer_config.json'), JSON.stringify({ ...before, ...settings }));
  if (template !== undefined) await writeFile(join(dir, 'chat_template.jinja'), template);
  return dir;
}

describe('a tokenizer gives the ids and texts of transformers', () => {
  it('of the kind that Llama 3 has', () => expectSame(join(TOKENIZERS, 'bytelevel'), 'bytelevel'));
  it('of the kind that Mistral has', () => expectSame(join(TOKENIZERS, 'metaspace'), 'metaspace'));
  it.skipIf(sharedDir() === undefined)('of stories260k (skipped without ../shared/models)', () => expectSame(join(sharedDir()!, 'models/stories260k'), 'stories260k'));
});

describe('special tokens', () => {
  it('are added where asked for, and known by name and id', async () => {
    const tokenizer = await LlamaTokenizer.read(join(TOKENIZERS, 'metaspace'), CONTEXT);
    expect([...tokenizer.encode('Tim')].slice(0, 1)).toEqual([1]);
    expect([...tokenizer.encode('Tim', { addSpecialTokens: false })]).toEqual([...tokenizer.encode('Tim')].slice(1));
    expect(tokenizer).toMatchObject({ bosTokenId: 1, bosToken: '<s>', eosTokenIds: [2], eosToken: '</s>', vocabSize: 480 });
    expect([tokenizer.token(1), tokenizer.token(12), tokenizer.token(9999)]).toEqual(['<s>', '<0x09>', '<9999>']);
    expect(tokenizer.decode([])).toBe('');
  });

  it('that end a generation are those of the config and that of the tokenizer', async () => {
    const tokenizer = await LlamaTokenizer.read(await withSettings({ eos_token: { content: '<unk>', lstrip: false } }), { eosTokenIds: [5, 2, 5] });
    expect(tokenizer.eosTokenIds).toEqual([5, 2, 0]);
    expect(tokenizer.eosToken).toBe('<unk>');
    const bare = await LlamaTokenizer.read(await withSettings({ eos_token: null, bos_token: null }), { bosTokenId: 1, eosTokenIds: [2] });
    expect(bare).toMatchObject({ eosToken: '</s>', bosToken: '<s>', bosTokenId: 1 });
  });
});

describe('a stream of tokens', () => {
  it('never gives out half of a character, and all of it in the end', async () => {
    const tokenizer = await LlamaTokenizer.read(join(TOKENIZERS, 'metaspace'), CONTEXT);
    const text = 'Tim 日本🙂 é said';
    const ids = [...tokenizer.encode(text, { addSpecialTokens: false })];
    const stream = new Detokenizer(tokenizer);
    const pieces = [...ids.map((id) => stream.push(id)), stream.flush()];
    expect(pieces.join('')).toBe(text);
    expect(pieces.some((piece) => piece.includes('\ufffd'))).toBe(false);
    expect(pieces).toContain('🙂');
  });
});

describe('the fingerprint', () => {
  it('changes with everything that shapes the output', async () => {
    const print = async (settings: Record<string, unknown>, context = CONTEXT, template?: string) => (await LlamaTokenizer.read(await withSettings(settings, template), context)).fingerprint;
    const plain = await print({});
    expect(plain).toMatch(/^[0-9a-f]{64}$/);
    expect(await print({})).toBe(plain);
    const others = [await print({ eos_token: '<s>' }), await print({}, { eosTokenIds: [3] }), await print({}, CONTEXT, '{{ messages }}'), await print({}, { ...CONTEXT, code: 'edited' })];
    expect(new Set([plain, ...others]).size).toBe(5);
  });
});

describe('chat templates', () => {
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hello?' },
    { role: 'assistant', content: 'Hi.' },
    { role: 'user', content: 'Bye.' },
  ];
  /** As Llama 3's, with what such templates use: trim_blocks, loops, filters, conditions. */
  const TEMPLATE = `{% for message in messages %}
{% if loop.index0 == 0 %}{{ bos_token }}{% endif %}
{{ '<|' + message['role'] + '|>\\n' + message['content'] | trim + eos_token }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}`;
  /** By transformers' own renderer. */
  const RENDERED = '<s><|system|>\nBe brief.</s>\n<|user|>\nHello?</s>\n<|assistant|>\nHi.</s>\n<|user|>\nBye.</s>\n';

  it.each([
    ['as text', { chat_template: TEMPLATE }, undefined],
    ['as a list with a default', { chat_template: [{ name: 'tool_use', template: 'no' }, { name: 'default', template: TEMPLATE }] }, undefined],
    ['as chat_template.jinja, which comes first', { chat_template: 'no' }, TEMPLATE],
  ])('%s', async (_, settings, file) => {
    const tokenizer = await LlamaTokenizer.read(await withSettings(settings, file), CONTEXT);
    expect(tokenizer.hasChatTemplate).toBe(true);
    expect(tokenizer.applyChatTemplate(messages)).toBe(RENDERED);
    expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toBe(`${RENDERED}<|assistant|>\n`);
  });

  it('are chosen by name, or written in place of them', async () => {
    const dir = await withSettings({ chat_template: [{ name: 'a', template: 'A' }, { name: 'b', template: 'B' }] });
    const render = async (chatTemplate?: string) => (await LlamaTokenizer.read(dir, { ...CONTEXT, chatTemplate })).applyChatTemplate(messages);
    expect([await render('a'), await render('b'), await render('{{ messages | length }}')]).toEqual(['A', 'B', '4']);
    await expect(render()).rejects.toThrow('The tokenizer has the chat templates a, b, and none is the default.');
    await expect(render('c')).rejects.toThrow('The tokenizer has no chat template called "c".');
  });

  it('refuse messages in their own words', async () => {
    const template = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('Conversations begin with the user.') }}{% endif %}";
    const tokenizer = await LlamaTokenizer.read(await withSettings({ chat_template: template }), CONTEXT);
    expect(() => tokenizer.applyChatTemplate(messages)).toThrow("The model's chat template refuses these messages: Conversations begin with the user.");
    expect(tokenizer.applyChatTemplate(messages.slice(1))).toBe('');
  });

  it('that are broken are named when the tokenizer is read', async () => {
    await expect(LlamaTokenizer.read(await withSettings({ chat_template: '{% for %}' }), CONTEXT)).rejects.toThrow("The model's chat template can't be read: ");
  });

  it('that are missing are an error of their own', async () => {
    const tokenizer = await LlamaTokenizer.read(join(TOKENIZERS, 'metaspace'), CONTEXT);
    expect(tokenizer.hasChatTemplate).toBe(false);
    expect(() => tokenizer.applyChatTemplate(messages)).toThrow('The model has no chat template.');
  });
});
