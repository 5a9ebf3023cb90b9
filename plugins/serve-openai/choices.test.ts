/** Several choices of one request: generated together, each as it would be alone. */
import type OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BASE, openServer, type TestServer } from '../../test/support/openai-server.ts';

/** How many texts each pass of the model had. */
const together: number[] = [];
let open: TestServer;

beforeAll(async () => (open = await openServer(undefined, {}, { pass: ({ sequences }) => void together.push(sequences) })));

afterEach(() => {
  together.length = 0;
  expect(open.errors.splice(0)).toEqual([]);
});

afterAll(() => open.stop());

const completion = { model: BASE, prompt: 'the cat', max_tokens: 10, temperature: 1.5, seed: 4 } as const;
const both = { ...completion, prompt: ['the cat', 'a dog'] };
const chat = { model: BASE, messages: [{ role: 'user', content: 'hi' }], max_completion_tokens: 10, temperature: 1.5, seed: 4 } as const satisfies OpenAI.ChatCompletionCreateParamsNonStreaming;

const said = async (request: Partial<OpenAI.CompletionCreateParamsNonStreaming>): Promise<string[]> => (await open.client.completions.create({ ...completion, ...request })).choices.map(({ text }) => text);
const told = async (request: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>): Promise<(string | null)[]> => (await open.client.chat.completions.create({ ...chat, ...request })).choices.map(({ message }) => message.content);

describe('the choices of a completion', () => {
  it('share one batch, those of all its prompts', async () => {
    await said({ ...both, n: 3 });
    expect(Math.max(...together)).toBe(6);
  });

  it('are what each would be alone with the next seed, in the order of their index', async () => {
    const { choices } = await open.client.completions.create({ ...both, n: 3 });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5]);
    for (const { index, text } of choices) expect(await said({ prompt: both.prompt[Math.floor(index / 3)]!, seed: 4 + (index % 3) })).toEqual([text]);
    expect(new Set(choices.map(({ text }) => text)).size).toBe(6);
  });

  it.each([1, -7, 2 ** 32 - 1, 2 ** 60])('differ from each other with the seed %d, and come again with it', async (seed) => {
    const texts = await said({ n: 4, seed });
    expect(new Set(texts).size).toBe(4);
    expect(await said({ n: 4, seed })).toEqual(texts);
    expect(await said({ n: 4, seed: 99 })).not.toEqual(texts);
  });

  it('are others each time without a seed', async () => {
    const texts = [...(await said({ n: 2, seed: null, max_tokens: 40 })), ...(await said({ n: 2, seed: null, max_tokens: 40 }))];
    expect(new Set(texts).size).toBe(4);
  });

  it('are ordered by index also where a later one ends first', async () => {
    const [first, second] = await said({ ...both, temperature: 0 });
    const stop = second![0]!;
    expect(first).not.toMatch(new RegExp(`^${stop}`));
    const { choices } = await open.client.completions.create({ ...both, temperature: 0, stop });
    expect(choices.map(({ index }) => index)).toEqual([0, 1]);
    expect(choices[0]!.text).toBe(first!.split(stop)[0]);
    expect(choices[1]).toMatchObject({ text: '', finish_reason: 'stop' });
  });

  it('take penalties each from what it said itself', async () => {
    // z is far above y, and both far above all others: what was said of z already lets y come.
    const [z, y] = open.base.tokenizer.encode('zy');
    const penalised = { temperature: 0, frequency_penalty: 2, logit_bias: { [z!]: 100, [y!]: 95 } };
    const [alone] = await said(penalised);
    expect(alone).toMatch(/^zz+[yz]*y[yz]*$/);
    expect(await said({ ...penalised, n: 3 })).toEqual([alone, alone, alone]);
    expect(await said({ ...penalised, frequency_penalty: 0, presence_penalty: 2 })).toEqual(['zzzzzzzzzz']);
    expect((await said({ ...penalised, frequency_penalty: 0, presence_penalty: 2, logit_bias: { [z!]: 100, [y!]: 99 } }))[0]).toContain('y');
  });
});

describe('the choices of a chat', () => {
  it('differ, come again with their seed, and are what each would be alone', async () => {
    const contents = await told({ n: 3 });
    expect(new Set(contents).size).toBe(3);
    expect(await told({ n: 3 })).toEqual(contents);
    for (const [i, content] of contents.entries()) expect(await told({ seed: 4 + i })).toEqual([content]);
  });

  it('each begin a stream with their role and end it with their reason, once', async () => {
    const kinds = new Map<number, string[]>();
    for await (const { choices } of await open.client.chat.completions.create({ ...chat, n: 3, stream: true })) {
      for (const { index, delta, finish_reason } of choices) kinds.set(index, [...(kinds.get(index) ?? []), delta.role ?? finish_reason ?? 'text']);
    }
    expect([...kinds.keys()].sort()).toEqual([0, 1, 2]);
    for (const [first, ...rest] of kinds.values()) {
      expect(first).toBe('assistant');
      expect(rest.pop()).toMatch(/^(length|stop)$/);
      expect(new Set(rest)).toEqual(new Set(['text']));
    }
  });
});
