/** What a stream promises beyond its text: chunks of one answer, usage, stop strings, failures. */
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BASE, byteModel, openServer, type TestServer } from '../../test/support/openai-server.ts';

let open: TestServer;

beforeAll(async () => (open = await openServer()));

afterEach(() => expect(open.errors.splice(0)).toEqual([]));

afterAll(() => open.stop());

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const chunks: T[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const completion = { model: BASE, prompt: ['the cat', 'a dog'], n: 2, max_tokens: 8, temperature: 1.5, seed: 3 };
const chat = { model: BASE, messages: [{ role: 'user', content: 'hi' }], n: 2, max_completion_tokens: 8, temperature: 1.5, seed: 3 } satisfies OpenAI.ChatCompletionCreateParamsNonStreaming;

describe('the chunks of a stream', () => {
  it('are of one answer', async () => {
    const heads = (chunks: readonly (OpenAI.Completion | OpenAI.ChatCompletionChunk)[]): object[] => chunks.map(({ id, object, created, model, system_fingerprint }) => ({ id, object, created, model, system_fingerprint }));
    for (const chunks of [heads(await all(await open.client.completions.create({ ...completion, stream: true }))), heads(await all(await open.client.chat.completions.create({ ...chat, stream: true })))]) {
      expect(new Set(chunks.map((head) => JSON.stringify(head))).size).toBe(1);
    }
  });

  /** What the second of two requests must not have computed again is told in its details. */
  const countsOf = (usage: OpenAI.CompletionUsage | undefined): object => ({ ...usage, prompt_tokens_details: expect.anything() as unknown });

  it('carry the usage of all choices in a last one without choices, where it was asked for', async () => {
    const { usage } = await open.client.completions.create(completion);
    const completions = await all(await open.client.completions.create({ ...completion, stream: true, stream_options: { include_usage: true } }));
    const whole = await open.client.chat.completions.create(chat);
    const chats = await all(await open.client.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } }));
    expect(completions.at(-1)).toMatchObject({ choices: [], usage: countsOf(usage) });
    expect(chats.at(-1)).toMatchObject({ choices: [], usage: countsOf(whole.usage) });
    for (const chunks of [completions, chats]) expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null && chunk.choices.length === 1)).toBe(true);
  });

  it('say nothing of usage where it was not asked for', async () => {
    for (const stream_options of [undefined, null, {}, { include_usage: false }]) {
      const chunks = await all(await open.client.chat.completions.create({ ...chat, stream: true, stream_options }));
      expect(chunks.every((chunk) => !('usage' in chunk) && chunk.choices.length === 1)).toBe(true);
    }
  });

  it('say role and reason also of an answer that is empty', async () => {
    const silent = { ...chat, n: 1, logprobs: true, logit_bias: { 2: 100 } };
    const whole = await open.client.chat.completions.create(silent);
    expect(whole.choices[0]).toMatchObject({ finish_reason: 'stop', message: { role: 'assistant', content: '' }, logprobs: { content: [] } });
    const chunks = await all(await open.client.chat.completions.create({ ...silent, stream: true }));
    expect(chunks.map(({ choices }) => [choices[0]!.delta.role, choices[0]!.finish_reason])).toEqual([['assistant', null], [undefined, 'stop']]);
  });

  it('are events of a line each, and [DONE]', async () => {
    const response = await open.post('/v1/chat/completions', { ...chat, stream: true });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const events = (await response.text()).split('\n\n');
    expect(events.slice(-2)).toEqual(['data: [DONE]', '']);
    for (const event of events.slice(0, -2)) expect(JSON.parse(event.replace(/^data: /, ''))).toMatchObject({ object: 'chat.completion.chunk' });
  });
});

describe('a stream that can not be answered', () => {
  // The tiny model has letters and a minus, and no digits.
  const asked = (schema: Record<string, unknown>): OpenAI.ChatCompletionCreateParamsStreaming => ({ ...chat, n: 1, stream: true, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } });

  it('fails with its status where nothing was said yet', async () => {
    await expect(open.client.chat.completions.create(asked({ const: 12 }))).rejects.toMatchObject({ status: 400, code: 'constraint_empty', param: 'response_format' });
    await expect(open.client.chat.completions.create({ ...chat, stream: true, temperature: 3 })).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    expect((await all(await open.client.chat.completions.create(asked({ const: null })))).map(({ choices }) => choices[0]!.delta.content ?? '').join('')).toBe('null');
  });

  it('gives what was said before it failed, and then the failure', async () => {
    let text = '';
    const reading = (async () => {
      for await (const { choices } of await open.client.chat.completions.create(asked({ const: -12 }))) text += choices[0]!.delta.content ?? '';
    })();
    await expect(reading).rejects.toMatchObject({ code: 'constraint_empty', param: 'response_format', type: 'invalid_request_error' });
    expect(text.trim()).toBe('-');
  });

  it('is turned away with 429 like any other when the line is full', async () => {
    const { client, stop } = await open.serve({ max_concurrent: 1, max_queue: 0 });
    try {
      const results = await Promise.allSettled(Array.from({ length: 4 }, async () => all(await client.chat.completions.create({ ...chat, max_completion_tokens: 60, logit_bias: { 2: -100 }, stream: true }))));
      const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as InstanceType<typeof OpenAI.RateLimitError>] : []));
      expect(refused).toHaveLength(3);
      for (const error of refused) {
        expect(error).toBeInstanceOf(OpenAI.RateLimitError);
        expect([error.code, error.type, error.headers.get('retry-after'), error.headers.get('x-should-retry')]).toEqual(['rate_limit_exceeded', 'rate_limit_error', '1', null]);
      }
    } finally {
      await stop();
    }
  });

  it('is tried again by a client that was turned away, until it is let in', async () => {
    const { server, stop } = await open.serve({ max_concurrent: 1, max_queue: 0 });
    try {
      const patient = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 20 });
      const answers = await Promise.all(Array.from({ length: 3 }, () => patient.completions.create({ ...completion, prompt: 'the cat' })));
      expect(new Set(answers.map(({ choices }) => choices[0]!.text)).size).toBe(1);
    } finally {
      await stop();
    }
  });
});

describe('stop strings', () => {
  let bytes: TestServer;
  /** Tokens of several characters, and characters of several tokens. */
  beforeAll(async () => (bytes = await openServer(await byteModel(['\u2581the', 'qué', 'é\u2581x', 'abc', '日本語', '😀', 'zé😀']))));
  afterAll(() => bytes.stop());

  /** Favours for what the words are of, so that they come often. */
  const request = (): OpenAI.CompletionCreateParamsNonStreaming => ({ model: BASE, prompt: 'hi', max_tokens: 24, temperature: 1, logprobs: 0, logit_bias: Object.fromEntries([0xc3, 0xa9, 256, 257, 258, 259, 260, 261, 262].map((id) => [id, 6])) });

  it.each([1, 2, 3])('that begin and end inside tokens are cut all the same, whole and streamed (seed %d)', async (seed) => {
    const { text, logprobs } = (await bytes.client.completions.create({ ...request(), seed })).choices[0]!;
    const borders = new Set(logprobs!.text_offset);
    const characters = [...text];
    const inside = characters.flatMap((_, i) => {
      const [begin, stop] = [characters.slice(0, i).join('').length, characters.slice(i, i + 3).join('')];
      return stop.includes('\ufffd') || (borders.has(begin) && borders.has(begin + stop.length)) ? [] : [stop];
    });
    expect(inside.length).toBeGreaterThan(4);
    for (const stop of inside.slice(0, 8)) {
      const before = text.slice(0, text.indexOf(stop));
      const cut = (await bytes.client.completions.create({ ...request(), seed, stop: ['never said', stop] })).choices[0]!;
      expect({ text: cut.text, reason: cut.finish_reason }).toEqual({ text: before, reason: 'stop' });
      const chunks = (await all(await bytes.client.completions.create({ ...request(), seed, stop: ['never said', stop], stream: true }))).map(({ choices }) => choices[0]!);
      expect(chunks.map((choice) => choice.text).join('')).toBe(before);
      expect(chunks.flatMap((choice) => choice.logprobs!.tokens!)).toEqual(cut.logprobs!.tokens);
      expect(cut.logprobs!.text_offset!.every((offset) => offset < before.length)).toBe(true);
      expect(chunks.filter(({ finish_reason }) => finish_reason === 'stop')).toHaveLength(1);
    }
  });

  it('never cut a character in two', async () => {
    const chunks = await all(await bytes.client.chat.completions.create({ model: BASE, messages: [{ role: 'user', content: 'hi' }], max_tokens: 100, seed: 1, stream: true, response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { const: 'é日本😀ß' } } } }));
    const pieces = chunks.map(({ choices }) => choices[0]!.delta.content ?? '');
    expect(JSON.parse(pieces.join(''))).toBe('é日本😀ß');
    for (const piece of pieces) expect(Buffer.from(piece).toString()).toBe(piece);
    expect(pieces.join('')).not.toContain('\ufffd');
    expect(pieces.filter((piece) => piece !== '').length).toBeGreaterThan(4);
  });
});
