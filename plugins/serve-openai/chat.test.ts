/** Chats, also in JSON, as the official client asks for them. */
import type OpenAI from 'openai';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ADAPTED, BASE, byteModel, openServer, tinyModel, type TestServer } from '../../test/support/openai-server.ts';

let open: TestServer;

beforeAll(async () => (open = await openServer()));

afterEach(() => expect(open.errors.splice(0)).toEqual([]));

afterAll(() => open.stop());

describe('/v1/chat/completions', () => {
  const request = { model: BASE, messages: [{ role: 'user', content: 'hi there' }], max_completion_tokens: 6, temperature: 1.5, seed: 5 } as const satisfies OpenAI.ChatCompletionCreateParamsNonStreaming;

  it('answers in the frame of instruction tuning where the model has no chat template', async () => {
    const answer = await open.client.chat.completions.create(request);
    expect(answer.object).toBe('chat.completion');
    expect(answer.choices[0]).toMatchObject({ index: 0, finish_reason: 'length', message: { role: 'assistant' } });
    const prompt = open.base.tokenizer.encode('### Instruction:\nhi there\n\n### Response:\n');
    expect(answer.usage!.prompt_tokens).toBe(prompt.length);
    const same = await open.client.completions.create({ model: BASE, prompt: Array.from(prompt), max_tokens: 6, temperature: 1.5, seed: 5 });
    expect(answer.choices[0]!.message.content).toBe(same.choices[0]!.text);
  });

  it('streams a role first, then the text, then the reason, then the usage', async () => {
    const whole = await open.client.chat.completions.create(request);
    const chunks = [];
    for await (const chunk of await open.client.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
    expect(chunks[0]!.choices[0]!.delta).toMatchObject({ role: 'assistant', content: '' });
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(whole.choices[0]!.message.content);
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe('length');
    // The prompt was computed for the whole answer; its last token goes through the model again.
    expect(chunks.at(-1)!.usage).toEqual({ ...whole.usage, prompt_tokens_details: { cached_tokens: whole.usage!.prompt_tokens - 1 } });
  });

  it('says how many tokens of the prompt were not computed again', async () => {
    const ask = async (model: string): Promise<OpenAI.CompletionUsage> => (await open.client.chat.completions.create({ ...request, model, messages: [{ role: 'user', content: 'A fresh prompt, which nobody sent before' }], n: 3 })).usage!;
    // Two of the choices have it from the first, which computed all of it but what every prompt begins with.
    const frame = '### Instruction:\n'.length;
    const { prompt_tokens, prompt_tokens_details } = await ask(BASE);
    expect(prompt_tokens_details!.cached_tokens).toBeLessThanOrEqual(frame);
    expect((await ask(BASE)).prompt_tokens_details).toEqual({ cached_tokens: prompt_tokens - 1 });
    // Another stack computes other keys and values.
    expect((await ask(ADAPTED)).prompt_tokens_details!.cached_tokens).toBeLessThanOrEqual(frame);
  });

  it("works with the client's own stream helper", async () => {
    const stream = open.client.chat.completions.stream({ ...request, stream: true });
    const whole = await open.client.chat.completions.create(request);
    expect(await stream.finalContent()).toBe(whole.choices[0]!.message.content);
  });

  it('goes on until the context is full when no limit is given', async () => {
    const { usage, choices } = await open.client.chat.completions.create({ ...request, max_completion_tokens: undefined });
    expect(choices[0]!.finish_reason === 'length' ? usage!.total_tokens : 128).toBe(128);
  });

  it('tells how likely each token was', async () => {
    const { choices } = await open.client.chat.completions.create({ ...request, logprobs: true });
    const content = choices[0]!.logprobs!.content!;
    expect(content.map(({ token }) => token).join('')).toBe(choices[0]!.message.content);
    expect(content.every(({ logprob, bytes, token }) => logprob <= 0 && Buffer.from(bytes!).toString() === token)).toBe(true);
  });

  it('tells of the likeliest tokens at each place', async () => {
    const { choices } = await open.client.chat.completions.create({ ...request, logprobs: true, top_logprobs: 20 });
    for (const { token, logprob, top_logprobs } of choices[0]!.logprobs!.content!) {
      expect(top_logprobs).toHaveLength(20);
      expect(top_logprobs.map((each) => each.logprob)).toEqual(top_logprobs.map((each) => each.logprob).sort((a, b) => b - a));
      expect(logprob).toBe(top_logprobs.find((each) => each.token === token)?.logprob ?? logprob);
    }
  });

  it('gives choices of their own, all at once', async () => {
    const { choices, usage } = await open.client.chat.completions.create({ ...request, n: 5, max_completion_tokens: 12 });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4]);
    expect(new Set(choices.map(({ message }) => message.content)).size).toBe(5);
    expect(usage!.completion_tokens).toBeGreaterThan(12);
    const runner = open.client.chat.completions.stream({ ...request, n: 5, max_completion_tokens: 12 });
    const streamed = await runner.finalChatCompletion();
    expect(streamed.choices.map(({ message }) => message.content)).toEqual(choices.map(({ message }) => message.content));
  });

  it('takes content in parts, and a system message', async () => {
    const parts = await open.client.chat.completions.create({ ...request, messages: [{ role: 'user', content: [{ type: 'text', text: 'hi ' }, { type: 'text', text: 'there' }] }] });
    expect(parts.choices[0]!.message.content).toBe((await open.client.chat.completions.create(request)).choices[0]!.message.content);
    const { usage } = await open.client.chat.completions.create({ ...request, messages: [{ role: 'system', content: 'be' }, ...request.messages] });
    expect(usage!.prompt_tokens).toBe(parts.usage!.prompt_tokens + 'be\n\n'.length);
  });
});

describe('a model whose chat template shows the names of users', () => {
  let named: TestServer;
  const ask = { model: BASE, max_tokens: 4, temperature: 0 } as const;

  beforeAll(async () => (named = await openServer(await tinyModel("{% for m in messages %}{% if m.role == 'user' and m.name %}{{ m.name }}: {% endif %}{{ m.content }}\n{% endfor %}"))));

  afterAll(() => named.stop());

  it('is given them as the client sends them', async () => {
    const answer = await named.client.chat.completions.create({ ...ask, messages: [{ role: 'user', name: 'Ann', content: 'hi' }] });
    const same = await named.client.completions.create({ ...ask, prompt: 'Ann: hi\n' });
    expect(answer.usage).toMatchObject({ prompt_tokens: 'Ann: hi\n'.length });
    expect(answer.choices[0]!.message.content).toBe(same.choices[0]!.text);
  });

  it('refuses those that it would not show', async () => {
    const messages = [{ role: 'user', name: 'Ann', content: 'hi' }, { role: 'assistant', name: 'Bo', content: 'yes' }, { role: 'user', content: 'so' }] as const;
    await expect(named.client.chat.completions.create({ ...ask, messages: [...messages] })).rejects.toMatchObject({
      status: 400,
      param: 'messages[1].name',
      code: 'unsupported_parameter',
      message: "400 'messages[1].name' is not supported: this model's chat template has no place for names of the role assistant. Leave it out, or say the name in the content.",
    });
  });
});

describe('a model that can say any byte', () => {
  let bytes: TestServer;
  const ask = { model: BASE, messages: [{ role: 'user', content: 'hi' }], max_tokens: 400, temperature: 1 } as const satisfies OpenAI.ChatCompletionCreateParamsNonStreaming;

  beforeAll(async () => (bytes = await openServer(await byteModel(['"', '{"', '":', '",', '"}', '},', 'true', '12', '\u2581the', 'é"']))));

  afterAll(() => bytes.stop());

  const person = {
    type: 'object',
    properties: {
      name: { type: 'string', maxLength: 12 },
      age: { type: ['integer', 'null'] },
      role: { enum: ['cook', 'thief', 'wife', 'lover'] },
      tags: { type: 'array', items: { type: 'boolean' }, minItems: 1, maxItems: 3 },
      home: { $ref: '#/$defs/place' },
    },
    required: ['name', 'role', 'tags', 'home'],
    additionalProperties: false,
    $defs: { place: { anyOf: [{ type: 'null' }, { type: 'object', properties: { city: { type: 'string', maxLength: 8 }, near: { $ref: '#/$defs/place' } }, required: ['city'], additionalProperties: false }] } },
  };

  it('says what a schema accepts, each choice its own', async () => {
    const validate = new Ajv2020({ strict: false }).compile(person);
    const { choices } = await bytes.client.chat.completions.create({ ...ask, n: 6, seed: 4, response_format: { type: 'json_schema', json_schema: { name: 'person', strict: true, schema: person } } });
    const whole = choices.filter(({ finish_reason }) => finish_reason === 'stop');
    expect(whole.length).toBeGreaterThan(2);
    for (const { message } of whole) {
      const value: unknown = JSON.parse(message.content!);
      expect(validate(value), `${message.content}: ${JSON.stringify(validate.errors)}`).toBe(true);
    }
    expect(new Set(choices.map(({ message }) => message.content)).size).toBe(6);
  });

  it('streams it as it says it whole', async () => {
    const request = { ...ask, seed: 4, response_format: { type: 'json_schema', json_schema: { name: 'person', schema: person } } } as const;
    const whole = await bytes.client.chat.completions.create(request);
    expect(await bytes.client.chat.completions.stream(request).finalContent()).toBe(whole.choices[0]!.message.content);
  });

  it('says an object where any will do', async () => {
    const { choices } = await bytes.client.chat.completions.create({ ...ask, n: 6, seed: 2, response_format: { type: 'json_object' } });
    const whole = choices.filter(({ finish_reason }) => finish_reason === 'stop');
    expect(whole.length).toBeGreaterThan(0);
    for (const { message } of whole) expect(Object.prototype.toString.call(JSON.parse(message.content!))).toBe('[object Object]');
  });

  it('says that it was cut short where the limit comes first', async () => {
    const { choices, usage } = await bytes.client.chat.completions.create({ ...ask, max_tokens: 5, response_format: { type: 'json_schema', json_schema: { name: 'person', schema: person } } });
    expect(choices[0]).toMatchObject({ finish_reason: 'length' });
    expect(usage!.completion_tokens).toBe(5);
    expect(choices[0]!.message.content).toMatch(/^\{/);
  });

  it('keeps to the schema against a favour for another token', async () => {
    const comma = ','.charCodeAt(0);
    const { choices } = await bytes.client.chat.completions.create({ ...ask, logit_bias: { [comma]: 100 }, response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'array', items: { type: 'boolean' }, minItems: 3, maxItems: 3 } } } });
    expect(JSON.parse(choices[0]!.message.content!)).toHaveLength(3);
  });

  it('gives up on a schema that can be read in too many ways, and goes on with others', async () => {
    const list = { type: 'array', items: { $ref: '#' } };
    // Deeper and deeper.
    const logit_bias = { ['['.charCodeAt(0)]: 100 };
    const response = await bytes.post('/v1/chat/completions', { ...ask, logit_bias, response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { anyOf: [list, { ...list }, { ...list }] } } } });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param: 'response_format', code: 'unsupported_schema' } });
    expect((await bytes.client.chat.completions.create({ ...ask, max_tokens: 1 })).object).toBe('chat.completion');
  });

  it('gives the bytes of tokens that are parts of a character', async () => {
    // The two bytes of an é, then a word: the first has no text of its own.
    const schema = { const: 'é the' };
    const bias = { 0xc3: 50, 0xa9: 50 };
    const { choices } = await bytes.client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 2, logit_bias: bias, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } });
    expect(choices[0]!.message.content).toBe('"é the"');
    const tokens = choices[0]!.logprobs!.content!;
    expect(Buffer.from(tokens.flatMap((token) => token.bytes!)).toString()).toBe('"é the"');
    expect(tokens.slice(1, 3).map(({ token, bytes: of }) => ({ token, of }))).toEqual([{ token: 'bytes:\\xc3', of: [0xc3] }, { token: 'bytes:\\xa9', of: [0xa9] }]);
  });

  it.each([
    [{ type: 'object', properties: { a: { type: 'string', pattern: '^a' } } }, 'response_format.json_schema.schema.properties.a.pattern', 'unsupported_schema', "Invalid schema for 'response_format': at 'response_format.json_schema.schema.properties.a.pattern', 'pattern' is not supported."],
    [{ type: 'text' }, 'response_format.json_schema.schema.type', 'invalid_schema', "Invalid schema for 'response_format': at 'response_format.json_schema.schema.type', it must be equal to one of the allowed values."],
    [undefined, 'response_format.json_schema.schema', 'missing_required_parameter', "Missing required parameter: 'response_format.json_schema.schema'."],
  ])('refuses a schema that it can not follow (%#)', async (schema, param, code, message) => {
    const response = await bytes.post('/v1/chat/completions', { ...ask, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } });
    expect(await response.json()).toEqual({ error: { message, type: 'invalid_request_error', param, code } });
    expect(response.status).toBe(400);
  });
});
