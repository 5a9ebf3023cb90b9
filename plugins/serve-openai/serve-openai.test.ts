/** The server as the official client sees it: its models, many requests at once, its beginning and end. */
import { once } from 'node:events';
import { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import * as tf from '@tensorflow/tfjs';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { ADAPTED, BASE, BROKEN, clientOf, openServer, type TestServer } from '../../test/support/openai-server.ts';

let open: TestServer;

beforeAll(async () => (open = await openServer()));

afterEach(() => expect(open.errors.splice(0)).toEqual([]));

afterAll(() => open.stop());

describe('/v1/models', () => {
  it('lists the base and the run that stands on it', async () => {
    const { data } = await open.client.models.list();
    expect(data.map(({ id, object, owned_by }) => ({ id, object, owned_by }))).toEqual([
      { id: BASE, object: 'model', owned_by: 'graft' },
      { id: ADAPTED, object: 'model', owned_by: 'graft' },
      { id: BROKEN, object: 'model', owned_by: 'graft' },
    ]);
  });

  it('finds a model whose id has a slash, sent as %2F', async () => {
    expect(await open.client.models.retrieve(BASE)).toMatchObject({ id: BASE, object: 'model' });
    expect(await open.client.models.retrieve(ADAPTED)).toMatchObject({ id: ADAPTED, parent: BASE });
  });

  it('says which models there are when it has none of that name', async () => {
    await expect(open.client.models.retrieve('gpt-4')).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
      message: `404 The model 'gpt-4' does not exist. Served here: ${BASE}, ${ADAPTED}, ${BROKEN}.`,
    });
  });
});

describe('many requests', () => {
  const request = { model: ADAPTED, prompt: 'the cat', max_tokens: 40, temperature: 0 } as const;

  it('take turns token by token, so that a short one does not wait for a long one', async () => {
    const order: string[] = [];
    const long = open.client.completions.create(request).then(() => order.push('long'));
    const short = open.client.completions.create({ ...request, max_tokens: 2 }).then(() => order.push('short'));
    await Promise.all([long, short]);
    expect(order).toEqual(['short', 'long']);
  });

  it('answer each as if it were alone, and leave no tensor behind', async () => {
    const alone = await open.client.completions.create(request);
    open.batcher.forgetAll();
    const tensors = tf.memory().numTensors;
    const together = await Promise.all(Array.from({ length: 12 }, (_, i) => open.client.completions.create({ ...request, model: i % 2 === 0 ? ADAPTED : BASE })));
    together.filter((_, i) => i % 2 === 0).forEach((answer) => expect(answer.choices[0]!.text).toBe(alone.choices[0]!.text));
    open.batcher.forgetAll();
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it('are turned away with 429 when the line is full, and the client knows when to come back', async () => {
    const { server: narrow, stop } = await open.serve({ port: 0, max_concurrent: 1, max_queue: 1 });
    try {
      const own = clientOf(narrow);
      const results = await Promise.allSettled(Array.from({ length: 4 }, () => own.completions.create(request)));
      const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as InstanceType<typeof OpenAI.RateLimitError>] : []));
      expect(refused).toHaveLength(2);
      for (const error of refused) {
        expect(error).toBeInstanceOf(OpenAI.RateLimitError);
        expect(error.headers.get('retry-after')).toBe('1');
        expect(error.message).toBe('429 The server is busy: 2 requests are being answered or wait. Try again in 1 s.');
      }
    } finally {
      await stop();
    }
  });

  it('end when their client goes away, and free their place and their tensors', async () => {
    const { server: narrow, stop } = await open.serve({ port: 0, max_concurrent: 1, max_queue: 0 });
    try {
      const own = clientOf(narrow);
      const tensors = tf.memory().numTensors;
      const stream = await own.completions.create({ ...request, n: 16, stream: true });
      for await (const _chunk of stream) break;
      stream.controller.abort();
      // The place is free once the server has seen the connection close: the next request is let in.
      await expect.poll(async () => (await own.completions.create({ ...request, max_tokens: 1 }).catch(() => undefined))?.object, { timeout: 20_000 }).toBe('text_completion');
      expect(tf.memory().numTensors).toBe(tensors);
    } finally {
      await stop();
    }
  });
});

describe('a client that reads slowly', () => {
  afterEach(() => void vi.restoreAllMocks());

  it('holds no place that another could have, and misses nothing in the end', async () => {
    const { client, stop } = await open.serve({ max_concurrent: 1, max_queue: 1 });
    try {
      const request = { model: BASE, prompt: 'the cat', max_tokens: 60, temperature: 0, n: 4, logprobs: 2 } as const;
      // As if the connection's window were full: what is written arrives, and the next is not to be written yet.
      const full = new Set<ServerResponse>();
      const write = ServerResponse.prototype.write;
      vi.spyOn(ServerResponse.prototype, 'write').mockImplementation(function (this: ServerResponse, ...given: unknown[]) {
        full.add(this);
        write.apply(this, given as Parameters<typeof write>);
        return false;
      });
      const chunks: OpenAI.Completion[] = [];
      const stream = await client.completions.create({ ...request, stream: true });
      const reading = (async () => {
        for await (const chunk of stream) chunks.push(chunk);
      })();
      await expect.poll(() => chunks.length, { timeout: 20_000 }).toBe(1);
      // There is one place, and the one who has it can be sent no more: still others get their answers.
      const whole = await client.completions.create(request);
      expect((await client.completions.create({ ...request, n: 1, max_tokens: 1 })).object).toBe('text_completion');
      expect(chunks).toHaveLength(1);
      vi.restoreAllMocks();
      for (const response of full) response.emit('drain');
      await reading;
      const ofIndex = (index: number): OpenAI.CompletionChoice[] => chunks.flatMap(({ choices }) => choices.filter((choice) => choice.index === index));
      whole.choices.forEach(({ text, logprobs, finish_reason }, index) => {
        expect(ofIndex(index).map((choice) => choice.text).join('')).toBe(text);
        expect(ofIndex(index).flatMap((choice) => choice.logprobs?.tokens ?? [])).toEqual(logprobs!.tokens);
        expect(ofIndex(index).at(-1)!.finish_reason).toBe(finish_reason);
      });
      // What had to wait came together: far fewer chunks than tokens.
      expect(chunks.length).toBeLessThan(60);
    } finally {
      await stop();
    }
  });
});

describe('what the host is told of', () => {
  const last = async (path: string): Promise<object> => {
    await expect.poll(() => open.requests.some(({ route }) => route === path), { timeout: 20_000 }).toBe(true);
    return open.requests.filter(({ route }) => route === path).at(-1)!;
  };

  it('is each request that has ended, by its route, with what it took', async () => {
    open.requests.length = 0;
    const stream = await open.client.completions.create({ model: ADAPTED, prompt: 'the cat', max_tokens: 5, temperature: 0, stream: true });
    for await (const _chunk of stream);
    const told = await last('/v1/completions');
    expect(told).toMatchObject({ type: 'request', method: 'POST', status: 200, model: ADAPTED, promptTokens: 7, completionTokens: 5 });
    const { seconds, firstTokenSeconds } = told as { seconds: number; firstTokenSeconds: number };
    expect(firstTokenSeconds).toBeGreaterThan(0);
    expect(firstTokenSeconds).toBeLessThanOrEqual(seconds);
  });

  it('does not count by names that clients make up', async () => {
    open.requests.length = 0;
    await open.client.models.retrieve('gpt-4').catch(() => undefined);
    expect(await last('/v1/models/*')).toMatchObject({ method: 'GET', status: 404, model: null, promptTokens: 0, completionTokens: 0, firstTokenSeconds: null });
  });

  it('is also one whose client went away', async () => {
    open.requests.length = 0;
    const stream = await open.client.completions.create({ model: BASE, prompt: 'the cat', max_tokens: 100, temperature: 0, n: 16, stream: true });
    for await (const _chunk of stream) break;
    stream.controller.abort();
    expect(await last('/v1/completions')).toMatchObject({ status: 499, model: BASE });
  });
});

describe('a server', () => {
  it('listens on this machine alone unless there is a key', async () => {
    await expect(open.serve({ port: 0, host: '0.0.0.0' })).rejects.toMatchObject({
      code: 'SERVE_UNPROTECTED',
      option: ['host'],
      message: 'Listening on 0.0.0.0 lets other machines use the model, and no api_key is set.',
    });
  });

  it('asks for the key that it was given', async () => {
    const { server: guarded, stop } = await open.serve({ port: 0, host: '0.0.0.0', api_key: 'a-long-secret' });
    try {
      const url = guarded.url.replace('0.0.0.0', '127.0.0.1');
      expect((await clientOf({ ...guarded, url }, 'a-long-secret').models.list()).data).toHaveLength(3);
      await expect(clientOf({ ...guarded, url }, 'another').models.list()).rejects.toMatchObject({ status: 401, code: 'invalid_api_key', message: '401 Incorrect API key provided.' });
      expect(await (await fetch(`${url}/v1/models`)).json()).toMatchObject({ error: { message: 'No API key provided. Send it in the Authorization header, as Bearer YOUR_KEY.', type: 'authentication_error' } });
    } finally {
      await stop();
    }
  });

  it('says when its port is taken', async () => {
    const port = Number(new URL(open.server.url).port);
    await expect(open.serve({ port })).rejects.toMatchObject({ code: 'PORT_IN_USE', option: ['port'], message: `Port ${port} on 127.0.0.1 is in use by another program.` });
  });

  it('refuses chat where the model has no template and none is to be lent', async () => {
    const { server: strict, stop } = await open.serve({ port: 0, chat_template: 'model' });
    try {
      await expect(clientOf(strict).chat.completions.create({ model: BASE, messages: [{ role: 'user', content: 'hi' }] })).rejects.toMatchObject({
        status: 400,
        code: 'no_chat_template',
        message: "400 This model has no chat template. Use /v1/completions, or set the server's option chat_template to alpaca.",
      });
    } finally {
      await stop();
    }
  });

  it('finishes what is in flight when it closes, and takes nothing new', async () => {
    const { server: closing, stop } = await open.serve({ port: 0 });
    const own = clientOf(closing);
    const stream = await own.completions.create({ model: BASE, prompt: 'the cat', max_tokens: 30, temperature: 0, stream: true });
    let text = '';
    let closed: Promise<void> | undefined;
    for await (const { choices } of stream) {
      closed ??= closing.close();
      text += choices[0]?.text ?? '';
    }
    await closed;
    expect(text).toBe((await open.client.completions.create({ model: BASE, prompt: 'the cat', max_tokens: 30, temperature: 0 })).choices[0]!.text);
    await expect(own.models.list()).rejects.toThrow(OpenAI.APIConnectionError);
    await stop();
  });

  it('does not wait for connections that have asked for nothing', async () => {
    const { server: closing, client, stop } = await open.serve();
    const silent = connect(Number(new URL(closing.url).port), '127.0.0.1');
    await once(silent.resume(), 'connect');
    await client.models.list();
    await Promise.all([once(silent, 'close'), closing.close()]);
    expect(silent.errored).toBe(null);
    await stop();
  });
});
