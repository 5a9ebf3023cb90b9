/** The server as the official client sees it, over a real model with a real LoRA. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LoadedModel, Logger, RunningServer } from '../../core/index.ts';
import { checkOptions } from '../../core/config/options.ts';
import { createScope } from '../../core/kernel/scope.ts';
import { Batcher } from '../../core/serving/batcher.ts';
import { HotServedModels } from '../../core/serving/served-models.ts';
import { loadFolder } from '../../test/support/model.ts';
import { inject, quietLog, strategyHost } from '../../test/support/strategies.ts';
import { writeTinyModel } from '../../test/support/tiny-run.ts';
import plugin from './index.ts';
import { startServer } from './server.ts';

const BASE = 'org/tiny';
const ADAPTED = 'my-run';
const CONTEXT = 128;

let base: LoadedModel;
let batcher: Batcher;
let models: HotServedModels;
let server: RunningServer;
let client: OpenAI;
let stopServer: () => Promise<void>;
const errors: string[] = [];
const log: Logger = { ...quietLog, error: (message) => void errors.push(message) };

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'graft-serve-'));
  writeTinyModel(dir);
  const host = await strategyHost();
  base = await loadFolder(dir);
  batcher = new Batcher(base.model);
  models = new HotServedModels({ base, baseId: BASE, baseGenerations: [{ plugin: 'load:llama', version: '0.1.0', hash: 'a'.repeat(64), number: 1 }], batcher, log });
  models.add({
    id: ADAPTED,
    plugins: ['inject:lora'],
    build: async (stack) => {
      const graft = await inject(host, base.model, stack, 'lora', { r: 4, init_lora_weights: false });
      return { stack, grafts: [graft], generations: [{ plugin: 'inject:lora', version: '0.1.0', hash: 'b'.repeat(64), number: 1 }], dispose: async () => graft.remove() };
    },
  });
  ({ server, stop: stopServer } = await serve({ port: 0 }));
  client = clientOf(server);
});

afterEach(() => expect(errors.splice(0)).toEqual([]));

afterAll(async () => {
  await stopServer();
  await batcher.dispose();
  await models.dispose();
  base.model.dispose();
});

async function serve(options: Readonly<Record<string, unknown>>): Promise<{ server: RunningServer; stop: () => Promise<void> }> {
  const scope = createScope('server', log);
  const config = checkOptions(plugin.config, options, 'the serve plugin `openai`') as never;
  const call = { config, models, log, scope, signal: new AbortController().signal, engine: base.model.engine, seed: 1, baseDir: tmpdir(), cacheDir: tmpdir(), emit: () => undefined };
  return { server: await startServer(call), stop: () => scope.dispose() };
}

const clientOf = ({ url }: RunningServer, apiKey = 'any'): OpenAI => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });

const post = (path: string, body: unknown, headers: Readonly<Record<string, string>> = { 'content-type': 'application/json' }): Promise<Response> =>
  fetch(`${server.url}${path}`, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) });

describe('/v1/models', () => {
  it('lists the base and the run that stands on it', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id, object, owned_by }) => ({ id, object, owned_by }))).toEqual([
      { id: BASE, object: 'model', owned_by: 'graft' },
      { id: ADAPTED, object: 'model', owned_by: 'graft' },
    ]);
  });

  it('finds a model whose id has a slash, sent as %2F', async () => {
    expect(await client.models.retrieve(BASE)).toMatchObject({ id: BASE, object: 'model' });
    expect(await client.models.retrieve(ADAPTED)).toMatchObject({ id: ADAPTED, parent: BASE });
  });

  it('says which models there are when it has none of that name', async () => {
    await expect(client.models.retrieve('gpt-4')).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
      message: `404 The model 'gpt-4' does not exist. Served here: ${BASE}, ${ADAPTED}.`,
    });
  });
});

describe('/v1/completions', () => {
  const request = { model: BASE, prompt: 'the cat', max_tokens: 12, temperature: 0 } as const;

  it('goes on from a prompt, counts tokens, and says why it ended', async () => {
    const answer = await client.completions.create(request);
    expect(answer).toMatchObject({ object: 'text_completion', model: BASE, usage: { prompt_tokens: 7, completion_tokens: 12, total_tokens: 19 } });
    expect(answer.choices).toHaveLength(1);
    expect(answer.choices[0]).toMatchObject({ index: 0, finish_reason: 'length', logprobs: null });
    expect(answer.choices[0]!.text).toHaveLength(12);
    expect(answer.id).toMatch(/^cmpl-[0-9a-f]{32}$/);
    expect(answer._request_id).toMatch(/^req_[0-9a-f]{32}$/);
  });

  it('streams the same text, with the usage when asked', async () => {
    const whole = await client.completions.create(request);
    const stream = await client.completions.create({ ...request, stream: true, stream_options: { include_usage: true } });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks.map(({ choices }) => choices[0]?.text ?? '').join('')).toBe(whole.choices[0]!.text);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe('length');
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
  });

  it('answers through the stack of the run that is named, and says so in the fingerprint', async () => {
    const [plain, adapted] = await Promise.all([client.completions.create(request), client.completions.create({ ...request, model: ADAPTED })]);
    expect(adapted.choices[0]!.text).not.toBe(plain.choices[0]!.text);
    expect(adapted.system_fingerprint).toMatch(/^fp_[0-9a-f]{12}$/);
    expect(adapted.system_fingerprint).not.toBe(plain.system_fingerprint);
  });

  it('samples the same for the same seed, and otherwise for another', async () => {
    const sampled = { ...request, temperature: 1.5, max_tokens: 24 };
    const text = async (seed: number, top_p = 1): Promise<string> => (await client.completions.create({ ...sampled, seed, top_p })).choices[0]!.text;
    expect(await text(1)).toBe(await text(1));
    expect(await text(1)).not.toBe(await text(2));
    // A nucleus of one token is the greedy choice.
    expect(await text(1, 1e-6)).toBe((await client.completions.create({ ...sampled, temperature: 0 })).choices[0]!.text);
  });

  it('ends before a stop string, and shows nothing of it, whole or streamed', async () => {
    const full = (await client.completions.create(request)).choices[0]!.text;
    const stop = full.slice(5, 8);
    const before = full.slice(0, full.indexOf(stop));
    const cut = await client.completions.create({ ...request, stop: [stop, 'never'] });
    expect(cut.choices[0]).toMatchObject({ text: before, finish_reason: 'stop' });
    let streamed = '';
    for await (const { choices } of await client.completions.create({ ...request, stop, stream: true })) streamed += choices[0]?.text ?? '';
    expect(streamed).toBe(before);
  });

  it('answers several prompts with several choices each, by their index', async () => {
    const answer = await client.completions.create({ ...request, prompt: ['the cat', 'a dog'], n: 2 });
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(answer.choices[0]!.text).toBe(answer.choices[1]!.text);
    expect(answer.choices[2]!.text).not.toBe(answer.choices[0]!.text);
    expect(answer.usage).toEqual({ prompt_tokens: 12, completion_tokens: 48, total_tokens: 60 });
  });

  it('takes token ids for a prompt', async () => {
    const ids = Array.from(base.tokenizer.encode('the cat'));
    expect((await client.completions.create({ ...request, prompt: ids })).choices[0]!.text).toBe((await client.completions.create(request)).choices[0]!.text);
  });

  it('tells how likely each token was, where its text begins', async () => {
    const { choices } = await client.completions.create({ ...request, logprobs: 0 });
    const { text, logprobs } = choices[0]!;
    expect(logprobs!.tokens!.join('')).toBe(text);
    expect(logprobs!.text_offset).toEqual(Array.from({ length: 12 }, (_, i) => i));
    expect(logprobs!.token_logprobs!.every((value) => value <= 0 && Number.isFinite(value))).toBe(true);
  });
});

describe('/v1/chat/completions', () => {
  const request = { model: BASE, messages: [{ role: 'user', content: 'hi there' }], max_completion_tokens: 6, temperature: 1.5, seed: 5 } as const satisfies OpenAI.ChatCompletionCreateParamsNonStreaming;

  it('answers in the frame of instruction tuning where the model has no chat template', async () => {
    const answer = await client.chat.completions.create(request);
    expect(answer.object).toBe('chat.completion');
    expect(answer.choices[0]).toMatchObject({ index: 0, finish_reason: 'length', message: { role: 'assistant' } });
    const prompt = base.tokenizer.encode('### Instruction:\nhi there\n\n### Response:\n');
    expect(answer.usage!.prompt_tokens).toBe(prompt.length);
    const same = await client.completions.create({ model: BASE, prompt: Array.from(prompt), max_tokens: 6, temperature: 1.5, seed: 5 });
    expect(answer.choices[0]!.message.content).toBe(same.choices[0]!.text);
  });

  it('streams a role first, then the text, then the reason, then the usage', async () => {
    const whole = await client.chat.completions.create(request);
    const chunks = [];
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
    expect(chunks[0]!.choices[0]!.delta).toMatchObject({ role: 'assistant', content: '' });
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(whole.choices[0]!.message.content);
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe('length');
    expect(chunks.at(-1)!.usage).toEqual(whole.usage);
  });

  it("works with the client's own stream helper", async () => {
    const stream = client.chat.completions.stream({ ...request, stream: true });
    const whole = await client.chat.completions.create(request);
    expect(await stream.finalContent()).toBe(whole.choices[0]!.message.content);
  });

  it('goes on until the context is full when no limit is given', async () => {
    const { usage, choices } = await client.chat.completions.create({ ...request, max_completion_tokens: undefined });
    expect(choices[0]!.finish_reason === 'length' ? usage!.total_tokens : CONTEXT).toBe(CONTEXT);
  });

  it('tells how likely each token was', async () => {
    const { choices } = await client.chat.completions.create({ ...request, logprobs: true });
    const content = choices[0]!.logprobs!.content!;
    expect(content.map(({ token }) => token).join('')).toBe(choices[0]!.message.content);
    expect(content.every(({ logprob, bytes, token }) => logprob <= 0 && Buffer.from(bytes!).toString() === token)).toBe(true);
  });

  it('takes content in parts, and a system message', async () => {
    const parts = await client.chat.completions.create({ ...request, messages: [{ role: 'user', content: [{ type: 'text', text: 'hi ' }, { type: 'text', text: 'there' }] }] });
    expect(parts.choices[0]!.message.content).toBe((await client.chat.completions.create(request)).choices[0]!.message.content);
    const { usage } = await client.chat.completions.create({ ...request, messages: [{ role: 'system', content: 'be' }, ...request.messages] });
    expect(usage!.prompt_tokens).toBe(parts.usage!.prompt_tokens + 'be\n\n'.length);
  });
});

describe('a request that is wrong', () => {
  const chat = { model: BASE, messages: [{ role: 'user', content: 'hi' }], max_tokens: 4 };
  const completion = { model: BASE, prompt: 'hi', max_tokens: 4 };

  it.each([
    ['/v1/chat/completions', { ...chat, messages: undefined }, 'messages', 'missing_required_parameter', "Missing required parameter: 'messages'."],
    ['/v1/chat/completions', { ...chat, messages: [{ content: 'hi' }] }, 'messages[0].role', 'missing_required_parameter', "Missing required parameter: 'messages[0].role'."],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'tool', content: 'hi' }] }, 'messages[0].role', 'invalid_value', "Invalid value for 'messages[0].role': 'tool' is not supported; use system, developer, user or assistant."],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, 'messages[0].content', 'invalid_value', "Invalid value for 'messages[0].content': a part of type 'image_url' is not supported; only text is."],
    ['/v1/chat/completions', { ...chat, messages: 'hi' }, 'messages', 'invalid_type', "Invalid type for 'messages': it must be array."],
    ['/v1/chat/completions', { ...chat, temperature: 'warm' }, 'temperature', 'invalid_type', "Invalid type for 'temperature': it must be number."],
    ['/v1/chat/completions', { ...chat, temperature: 3 }, 'temperature', 'invalid_value', "Invalid value for 'temperature': it must be <= 2."],
    ['/v1/chat/completions', { ...chat, top_p: 0 }, 'top_p', 'invalid_value', "Invalid value for 'top_p': it must be > 0."],
    ['/v1/chat/completions', { ...chat, n: 0 }, 'n', 'invalid_value', "Invalid value for 'n': it must be >= 1."],
    ['/v1/chat/completions', { ...chat, stop: [1] }, 'stop[0]', 'invalid_type', "Invalid type for 'stop[0]': it must be string."],
    ['/v1/chat/completions', { ...chat, stop: '' }, 'stop', 'invalid_value', "Invalid value for 'stop': a stop string can't be empty."],
    ['/v1/chat/completions', { ...chat, stream_options: { include_usage: true } }, 'stream_options', 'invalid_value', "'stream_options' is only allowed when 'stream' is true."],
    ['/v1/chat/completions', { ...chat, max_completion_tokens: 4 }, 'max_tokens', 'invalid_value', "'max_tokens' and 'max_completion_tokens' can't both be set."],
    ['/v1/chat/completions', { ...chat, tools: [{ type: 'function' }] }, 'tools', 'unsupported_parameter', "'tools' is not supported by this server. Leave it out, or send []."],
    ['/v1/chat/completions', { ...chat, response_format: { type: 'json_object' } }, 'response_format', 'unsupported_parameter', '\'response_format\' is not supported by this server. Leave it out, or send {"type":"text"}.'],
    ['/v1/chat/completions', { ...chat, top_logprobs: 3 }, 'top_logprobs', 'unsupported_parameter', "'top_logprobs' is not supported by this server. Leave it out, or send 0."],
    ['/v1/chat/completions', { ...chat, temprature: 1 }, 'temprature', 'unknown_parameter', 'Unrecognized request argument supplied: temprature'],
    ['/v1/completions', { ...completion, prompt: undefined }, 'prompt', 'missing_required_parameter', "Missing required parameter: 'prompt'."],
    ['/v1/completions', { ...completion, prompt: [1, 999] }, 'prompt', 'invalid_value', "Invalid value for 'prompt': token 999 is not in the vocabulary of 64."],
    ['/v1/completions', { ...completion, prompt: '' }, 'prompt', 'invalid_value', "Invalid value for 'prompt': it has no tokens."],
    ['/v1/completions', { ...completion, max_tokens: 0 }, 'max_tokens', 'invalid_value', "Invalid value for 'max_tokens': it must be >= 1."],
    ['/v1/completions', { ...completion, presence_penalty: 0.5 }, 'presence_penalty', 'unsupported_parameter', "'presence_penalty' is not supported by this server. Leave it out, or send 0."],
    ['/v1/completions', { ...completion, echo: true }, 'echo', 'unsupported_parameter', "'echo' is not supported by this server. Leave it out, or send false."],
    ['/v1/completions', { ...completion, logprobs: 2 }, 'logprobs', 'unsupported_parameter', "'logprobs' above 0 is not supported by this server: it knows the probability of the tokens that it chose. Send 0 or leave it out."],
    ['/v1/completions', { ...completion, max_tokens: 200 }, 'max_tokens', 'context_length_exceeded', "This model's maximum context length is 128 tokens. You asked for 202: 2 in the prompt and 200 in the completion."],
    ['/v1/completions', { ...completion, prompt: 'x'.repeat(128) }, 'max_tokens', 'context_length_exceeded', "This model's maximum context length is 128 tokens, and the prompt alone has 128."],
  ])('%s %j is refused by the name of the parameter', async (path, body, param, code, message) => {
    const response = await post(path, body);
    expect(await response.json()).toEqual({ error: { message, type: 'invalid_request_error', param, code } });
    expect(response.status).toBe(400);
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
  });

  it('is told apart from its neutral form, which changes nothing', async () => {
    const neutral = { frequency_penalty: 0, presence_penalty: 0, logit_bias: {}, tools: [], response_format: { type: 'text' }, user: 'me', metadata: {}, store: false };
    expect((await post('/v1/chat/completions', { ...chat, ...neutral })).status).toBe(200);
  });

  it('names a model that is not there', async () => {
    await expect(client.chat.completions.create({ model: 'gpt-4', messages: [{ role: 'user', content: 'hi' }] })).rejects.toThrow(OpenAI.NotFoundError);
    const response = await post('/v1/completions', { ...completion, model: 'gpt-4' });
    expect(await response.json()).toEqual({ error: { message: `The model 'gpt-4' does not exist. Served here: ${BASE}, ${ADAPTED}.`, type: 'invalid_request_error', param: 'model', code: 'model_not_found' } });
  });

  it('may not even be JSON, or JSON of another kind', async () => {
    expect(await (await post('/v1/completions', '{"model":')).json()).toMatchObject({ error: { message: 'The request body is not valid JSON.', code: 'invalid_json' } });
    expect(await (await post('/v1/completions', '[]')).json()).toMatchObject({ error: { message: 'The request body must be a JSON object.' } });
    const wrongType = await post('/v1/completions', 'hi', { 'content-type': 'text/plain' });
    expect(wrongType.status).toBe(415);
    expect(await wrongType.json()).toMatchObject({ error: { message: 'The request body must be JSON: send the header content-type: application/json.' } });
    const large = await post('/v1/completions', JSON.stringify({ ...completion, prompt: 'x'.repeat(9 * 1024 * 1024) }));
    expect(large.status).toBe(413);
    expect(await large.json()).toMatchObject({ error: { message: 'The request body is larger than 8 MiB.', code: 'body_too_large' } });
  });

  it('may go to an address that there is not', async () => {
    const response = await fetch(`${server.url}/v1/embeddings`);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({ error: { message: 'Unknown request URL: GET /v1/embeddings.', type: 'invalid_request_error', param: null, code: 'unknown_url' } });
  });
});

describe('many requests', () => {
  const request = { model: ADAPTED, prompt: 'the cat', max_tokens: 40, temperature: 0 } as const;

  it('take turns token by token, so that a short one does not wait for a long one', async () => {
    const order: string[] = [];
    const long = client.completions.create(request).then(() => order.push('long'));
    const short = client.completions.create({ ...request, max_tokens: 2 }).then(() => order.push('short'));
    await Promise.all([long, short]);
    expect(order).toEqual(['short', 'long']);
  });

  it('answer each as if it were alone, and leave no tensor behind', async () => {
    const alone = await client.completions.create(request);
    batcher.forgetAll();
    const tensors = tf.memory().numTensors;
    const together = await Promise.all(Array.from({ length: 12 }, (_, i) => client.completions.create({ ...request, model: i % 2 === 0 ? ADAPTED : BASE })));
    together.filter((_, i) => i % 2 === 0).forEach((answer) => expect(answer.choices[0]!.text).toBe(alone.choices[0]!.text));
    batcher.forgetAll();
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it('are turned away with 429 when the line is full, and the client knows when to come back', async () => {
    const { server: narrow, stop } = await serve({ port: 0, max_concurrent: 1, max_queue: 1 });
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
    const { server: narrow, stop } = await serve({ port: 0, max_concurrent: 1, max_queue: 0 });
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

describe('a server', () => {
  it('listens on this machine alone unless there is a key', async () => {
    await expect(serve({ port: 0, host: '0.0.0.0' })).rejects.toMatchObject({
      code: 'SERVE_UNPROTECTED',
      option: ['host'],
      message: 'Listening on 0.0.0.0 lets other machines use the model, and no api_key is set.',
    });
  });

  it('asks for the key that it was given', async () => {
    const { server: guarded, stop } = await serve({ port: 0, host: '0.0.0.0', api_key: 'a-long-secret' });
    try {
      const url = guarded.url.replace('0.0.0.0', '127.0.0.1');
      expect((await clientOf({ ...guarded, url }, 'a-long-secret').models.list()).data).toHaveLength(2);
      await expect(clientOf({ ...guarded, url }, 'another').models.list()).rejects.toMatchObject({ status: 401, code: 'invalid_api_key', message: '401 Incorrect API key provided.' });
      expect(await (await fetch(`${url}/v1/models`)).json()).toMatchObject({ error: { message: 'No API key provided. Send it in the Authorization header, as Bearer YOUR_KEY.', type: 'authentication_error' } });
    } finally {
      await stop();
    }
  });

  it('says when its port is taken', async () => {
    const port = Number(new URL(server.url).port);
    await expect(serve({ port })).rejects.toMatchObject({ code: 'PORT_IN_USE', option: ['port'], message: `Port ${port} on 127.0.0.1 is in use by another program.` });
  });

  it('refuses chat where the model has no template and none is to be lent', async () => {
    const { server: strict, stop } = await serve({ port: 0, chat_template: 'model' });
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
    const { server: closing, stop } = await serve({ port: 0 });
    const own = clientOf(closing);
    const stream = await own.completions.create({ model: BASE, prompt: 'the cat', max_tokens: 30, temperature: 0, stream: true });
    let text = '';
    let closed: Promise<void> | undefined;
    for await (const { choices } of stream) {
      closed ??= closing.close();
      text += choices[0]?.text ?? '';
    }
    await closed;
    expect(text).toBe((await client.completions.create({ model: BASE, prompt: 'the cat', max_tokens: 30, temperature: 0 })).choices[0]!.text);
    await expect(own.models.list()).rejects.toThrow(OpenAI.APIConnectionError);
    await stop();
  });
});
