/** Clients that go away: what was done for them ends, and their place in line and batch is another's. */
import * as tf from '@tensorflow/tfjs';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { ADAPTED, BASE, openServer, type TestServer } from '../../test/support/openai-server.ts';
import { Gate } from './gate.ts';

let open: TestServer;

beforeAll(async () => {
  open = await openServer();
  await open.models.load(ADAPTED);
});

afterEach(() => {
  vi.restoreAllMocks();
  open.requests.length = 0;
  expect(open.errors.splice(0)).toEqual([]);
});

afterAll(() => open.stop());

const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'hi' }];
/** The batch is full of it for many passes: none of its choices ends by itself. */
const completion = { model: ADAPTED, prompt: 'the cat', n: 32, max_tokens: 120, logit_bias: { 2: -100 } };
const chat = { model: BASE, messages, n: 32, max_completion_tokens: 80, logit_bias: { 2: -100 } };

const batch = (): number => open.batcher.state().running + open.batcher.state().waiting;
const POLL = { timeout: 20_000, interval: 1 };

/** Ways to be answered; each is given up with the signal. */
const ASKING: Readonly<Record<string, (signal: AbortSignal) => Promise<unknown>>> = {
  'a completion': (signal) => open.client.completions.create(completion, { signal }),
  'a chat': (signal) => open.client.chat.completions.create(chat, { signal }),
  'a completion in a stream': async (signal) => {
    for await (const _chunk of await open.client.completions.create({ ...completion, stream: true }, { signal }));
  },
  'a chat in a stream': async (signal) => {
    for await (const _chunk of await open.client.chat.completions.create({ ...chat, stream: true }, { signal }));
  },
};

describe('a client that goes away', () => {
  it.each(Object.entries(ASKING))('during %s leaves nothing in the batch, and no tensor', async (_, ask) => {
    await expect.poll(batch, POLL).toBe(0);
    open.batcher.forgetAll();
    const tensors = tf.memory().numTensors;
    const client = new AbortController();
    const asked = ask(client.signal).catch((error: unknown) => error);
    await expect.poll(() => open.batcher.state().running, POLL).toBe(32);
    client.abort();
    expect(await asked).toSatisfy((error: unknown) => error === undefined || error instanceof OpenAI.APIUserAbortError);
    await expect.poll(batch, POLL).toBe(0);
    await expect.poll(() => open.requests.map(({ status }) => status), POLL).toEqual([499]);
    // They ended before their time.
    expect(open.requests[0]!.completionTokens).toBe(0);
    open.batcher.forgetAll();
    await expect.poll(() => tf.memory().numTensors, POLL).toBe(tensors);
  });

  it('during embeddings ends them', async () => {
    const enter = vi.spyOn(Gate.prototype, 'enter');
    const client = new AbortController();
    const asked = open.client.embeddings.create({ model: BASE, input: Array.from({ length: 2000 }, () => 'the cat sees a dog.') }, { signal: client.signal });
    await expect.poll(() => enter.mock.calls.length, POLL).toBe(1);
    client.abort();
    await expect(asked).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
    await expect.poll(() => open.requests.map(({ status, promptTokens }) => ({ status, promptTokens })), POLL).toEqual([{ status: 499, promptTokens: 0 }]);
  });

  it('leaves its place in line to the next', async () => {
    const enter = vi.spyOn(Gate.prototype, 'enter');
    const { client, stop } = await open.serve({ max_concurrent: 1, max_queue: 1 });
    try {
      const gone = new AbortController();
      const first = client.completions.create(completion, { signal: gone.signal }).catch(() => 'gone');
      await expect.poll(() => open.batcher.state().running, POLL).toBe(32);
      const second = new AbortController();
      const waiting = client.completions.create(completion, { signal: second.signal }).catch(() => 'gone');
      await expect.poll(() => enter.mock.calls.length, POLL).toBe(2);
      const short = { model: BASE, prompt: 'a', max_tokens: 1 };
      await expect(client.completions.create(short)).rejects.toMatchObject({ status: 429 });
      second.abort();
      expect(await waiting).toBe('gone');
      await expect.poll(() => open.requests.some(({ status }) => status === 499), POLL).toBe(true);
      const third = client.completions.create(short);
      await expect.poll(() => enter.mock.calls.length, POLL).toBe(4);
      gone.abort();
      expect(await first).toBe('gone');
      expect((await third).choices).toHaveLength(1);
    } finally {
      await stop();
    }
  });

  it('takes nothing from those who stay', async () => {
    const asked = { model: ADAPTED, prompt: 'a dog', max_tokens: 60, temperature: 1.2, seed: 8 } as const;
    const alone = await open.client.completions.create(asked);
    const client = new AbortController();
    const gone = open.client.completions.create(completion, { signal: client.signal }).catch(() => 'gone');
    await expect.poll(() => open.batcher.state().running, POLL).toBe(32);
    let text = '';
    for await (const { choices } of await open.client.completions.create({ ...asked, stream: true })) {
      client.abort();
      text += choices[0]!.text;
    }
    expect(await gone).toBe('gone');
    expect(text).toBe(alone.choices[0]!.text);
  });
});
