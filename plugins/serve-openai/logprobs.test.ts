/** How likely tokens were, as the official client is told, over tokens that are bytes, words and parts of characters. */
import * as tf from '@tensorflow/tfjs';
import type OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BASE, byteModel, openServer, type TestServer } from '../../test/support/openai-server.ts';

let open: TestServer;

beforeAll(async () => (open = await openServer(await byteModel(['\u2581the', 'qué', 'cat', '日本', '😀']))));

afterEach(() => expect(open.errors.splice(0)).toEqual([]));

afterAll(() => open.stop());

const utf8 = (bytes: readonly (number[] | null)[]): string => Buffer.from(bytes.flatMap((each) => each!)).toString();

describe('logprobs of a chat', () => {
  const request = { model: BASE, messages: [{ role: 'user', content: 'hi' }], max_completion_tokens: 24, temperature: 1, seed: 3, logprobs: true } as const satisfies OpenAI.ChatCompletionCreateParamsNonStreaming;

  it.each([0, 2, 20])('are in a stream what they are in a whole answer, with %d of the likeliest', async (top_logprobs) => {
    const whole = await open.client.chat.completions.create({ ...request, top_logprobs, n: 3 });
    const streamed: OpenAI.ChatCompletionTokenLogprob[][] = [[], [], []];
    const texts = ['', '', ''];
    for await (const { choices } of await open.client.chat.completions.create({ ...request, top_logprobs, n: 3, stream: true })) {
      for (const { index, delta, logprobs } of choices) {
        texts[index] += delta.content ?? '';
        streamed[index]!.push(...(logprobs?.content ?? []));
      }
    }
    expect(streamed).toEqual(whole.choices.map(({ logprobs }) => logprobs!.content));
    expect(texts).toEqual(whole.choices.map(({ message }) => message.content));
    expect(streamed.flat()).toHaveLength(whole.usage!.completion_tokens);
    expect(streamed.flat().every((token) => token.top_logprobs.length === top_logprobs)).toBe(true);
  });

  it('have the bytes that make up the text, also those of tokens that are parts of a character', async () => {
    const { choices } = await open.client.chat.completions.create({ ...request, n: 4 });
    for (const { message, logprobs } of choices) expect(utf8(logprobs!.content!.map(({ bytes }) => bytes))).toBe(message.content);
    const tokens = choices.flatMap(({ logprobs }) => logprobs!.content!);
    expect(tokens.some(({ token }) => token.startsWith('bytes:'))).toBe(true);
    for (const { token, bytes } of tokens) expect(token).toBe(utf8([bytes]).includes('\ufffd') ? `bytes:${bytes!.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}` : utf8([bytes]));
  });

  it('have the chosen token first where the likeliest is chosen', async () => {
    const { choices } = await open.client.chat.completions.create({ ...request, temperature: 0, top_logprobs: 1 });
    for (const { token, logprob, bytes, top_logprobs } of choices[0]!.logprobs!.content!) expect(top_logprobs).toEqual([{ token, logprob, bytes }]);
  });

  it('end where a stop string cuts the text', async () => {
    const { choices } = await open.client.chat.completions.create({ ...request, n: 6 });
    // A word that is a token, and that was said once.
    const [found] = choices.flatMap(({ index, message, logprobs }) => {
      const content = logprobs!.content!;
      const at = content.findIndex(({ token }, i) => i > 3 && /^\w+$/.test(token) && message.content!.split(token).length === 2);
      return at === -1 ? [] : [{ seed: request.seed + index, before: content.slice(0, at), stop: content[at]!.token }];
    });
    const { seed, before, stop } = found!;
    const cut = await open.client.chat.completions.create({ ...request, seed, stop });
    expect(cut.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: utf8(before.map(({ bytes }) => bytes)) } });
    expect(cut.choices[0]!.logprobs!.content).toEqual(before);
  });

  it('are null where nobody asked', async () => {
    expect((await open.client.chat.completions.create({ ...request, logprobs: false })).choices[0]!.logprobs).toBe(null);
    for await (const { choices } of await open.client.chat.completions.create({ ...request, logprobs: null, stream: true })) expect(choices[0]!.logprobs).toBe(null);
  });
});

describe('logprobs of a completion', () => {
  const request = { model: BASE, max_tokens: 24, temperature: 1, seed: 3 } as const;
  const prompt = [0x68, 0x69, 256];

  /** Natural logarithms of the probabilities of all tokens after a prompt. */
  const logprobsAfter = (ids: readonly number[]): readonly number[] =>
    tf.tidy(() => {
      const inputIds = Int32Array.from(ids);
      const hidden = open.base.model.forward({ inputIds, labels: inputIds, offsets: Int32Array.of(0, ids.length), positions: inputIds.map((_, i) => i) });
      return Array.from(tf.logSoftmax(open.base.model.logits(hidden, { rows: Int32Array.of(ids.length - 1) })).dataSync());
    });
  const nameOf = (id: number): string => (id < 0x80 ? String.fromCharCode(id) : id < 256 ? `bytes:\\x${id.toString(16)}` : open.base.tokenizer.token(id).replace('\u2581', ' '));

  it("are the model's own numbers", async () => {
    const { tokens, token_logprobs, top_logprobs } = (await open.client.completions.create({ ...request, prompt, max_tokens: 1, logprobs: 5 })).choices[0]!.logprobs!;
    const nameToLogprob = new Map(logprobsAfter(prompt).map((logprob, id) => [nameOf(id), logprob]));
    expect(token_logprobs![0]).toBeCloseTo(nameToLogprob.get(tokens![0]!)!, 4);
    const likeliest = [...nameToLogprob].sort(([, a], [, b]) => b - a).slice(0, 5).map(([name]) => name);
    expect(Object.keys(top_logprobs![0]!).sort()).toEqual([...new Set([...likeliest, tokens![0]!])].sort());
    for (const [name, logprob] of Object.entries(top_logprobs![0]!)) expect(logprob).toBeCloseTo(nameToLogprob.get(name)!, 4);
  });

  it('tell what the model itself thinks of a token that it is made to say', async () => {
    const { tokens, token_logprobs } = (await open.client.completions.create({ ...request, prompt, max_tokens: 1, logprobs: 5, logit_bias: { 258: 100 } })).choices[0]!.logprobs!;
    expect(tokens).toEqual(['cat']);
    expect(token_logprobs![0]).toBeCloseTo(logprobsAfter(prompt)[258]!, 4);
  });

  it.each([0, 3])('are in a stream what they are in a whole answer, with %d of the likeliest', async (logprobs) => {
    const asked = { ...request, prompt: [prompt, [0x41]], n: 2, logprobs };
    const whole = await open.client.completions.create(asked);
    const streamed = whole.choices.map(() => ({ tokens: [] as string[], token_logprobs: [] as number[], top_logprobs: [] as object[], text_offset: [] as number[] }));
    for await (const { choices } of await open.client.completions.create({ ...asked, stream: true })) {
      for (const { index, logprobs: of } of choices) {
        streamed[index]!.tokens.push(...of!.tokens!);
        streamed[index]!.token_logprobs.push(...of!.token_logprobs!);
        streamed[index]!.top_logprobs.push(...(of!.top_logprobs ?? []));
        streamed[index]!.text_offset.push(...of!.text_offset!);
      }
    }
    expect(streamed).toEqual(whole.choices.map(({ logprobs: of }) => ({ ...of, top_logprobs: of!.top_logprobs ?? [] })));
    expect(streamed.flatMap(({ tokens }) => tokens)).toHaveLength(whole.usage!.completion_tokens);
  });
});
