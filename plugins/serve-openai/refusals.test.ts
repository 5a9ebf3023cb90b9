/** What is wrong with a request, said so that its sender finds it. */
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ADAPTED, BASE, BROKEN, openServer, type TestServer } from '../../test/support/openai-server.ts';

let open: TestServer;

beforeAll(async () => (open = await openServer()));

afterEach(() => expect(open.errors.splice(0)).toEqual([]));

afterAll(() => open.stop());

describe('a request that is wrong', () => {
  const chat = { model: BASE, messages: [{ role: 'user', content: 'hi' }], max_tokens: 4 };
  const completion = { model: BASE, prompt: 'hi', max_tokens: 4 };

  it.each([
    ['/v1/chat/completions', { ...chat, messages: undefined }, 'messages', 'missing_required_parameter', "Missing required parameter: 'messages'."],
    ['/v1/chat/completions', { ...chat, messages: [{ content: 'hi' }] }, 'messages[0].role', 'missing_required_parameter', "Missing required parameter: 'messages[0].role'."],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'tool', content: 'hi' }] }, 'messages[0].role', 'invalid_value', "Invalid value for 'messages[0].role': 'tool' is not supported; use system, developer, user or assistant."],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, 'messages[0].content', 'invalid_value', "Invalid value for 'messages[0].content': a part of type 'image_url' is not supported; only text is."],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'user', content: 'hi', name: 'ann' }] }, 'messages[0].name', 'unsupported_parameter', "'messages[0].name' is not supported: the frame that messages are put into has no place for names of the role user. Leave it out, or say the name in the content."],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'user', content: 'hi', name: '<|x|>' }] }, 'messages[0].name', 'invalid_value', "Invalid value for 'messages[0].name': it must match pattern \"^[^\\s<|\\\\/>]+$\"."],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'user', content: 'hi', nmae: 'ann' }] }, 'messages[0].nmae', 'unknown_parameter', 'Unrecognized request argument supplied: messages[0].nmae'],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'assistant', content: 'hi', tool_calls: [{ type: 'function' }] }] }, 'messages[0].tool_calls', 'unsupported_parameter', "'messages[0].tool_calls' is not supported by this server. Leave it out."],
    ['/v1/chat/completions', { ...chat, messages: [{ role: 'user', content: [{ type: 'text', text: 'hi', colour: 'red' }] }] }, 'messages[0].content[0].colour', 'unknown_parameter', 'Unrecognized request argument supplied: messages[0].content[0].colour'],
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
    ['/v1/chat/completions', { ...chat, response_format: { type: 'xml' } }, 'response_format.type', 'invalid_value', "Invalid value for 'response_format.type': 'xml' is not supported; use text, json_object or json_schema."],
    ['/v1/chat/completions', { ...chat, response_format: { type: 'json_schema' } }, 'response_format.json_schema', 'missing_required_parameter', "Missing required parameter: 'response_format.json_schema'."],
    ['/v1/chat/completions', { ...chat, response_format: { type: 'json_schema', json_schema: { name: 'a b', schema: {} } } }, 'response_format.json_schema.name', 'invalid_value', "Invalid value for 'response_format.json_schema.name': it must match pattern \"^[a-zA-Z0-9_-]{1,64}$\"."],
    // The tiny model has no bracket to say.
    ['/v1/chat/completions', { ...chat, response_format: { type: 'json_object' } }, 'response_format', 'constraint_empty', "The model's vocabulary has no token that goes on with the text as 'response_format' asks."],
    ['/v1/chat/completions', { ...chat, top_logprobs: 3 }, 'top_logprobs', 'invalid_value', "'top_logprobs' is only allowed when 'logprobs' is true."],
    ['/v1/chat/completions', { ...chat, logprobs: true, top_logprobs: 21 }, 'top_logprobs', 'invalid_value', "Invalid value for 'top_logprobs': it must be <= 20."],
    ['/v1/chat/completions', { ...chat, frequency_penalty: 3 }, 'frequency_penalty', 'invalid_value', "Invalid value for 'frequency_penalty': it must be <= 2."],
    ['/v1/chat/completions', { ...chat, logit_bias: { 999: 1 } }, 'logit_bias', 'invalid_value', "Invalid value for 'logit_bias': token 999 is not in the vocabulary of 64."],
    ['/v1/chat/completions', { ...chat, logit_bias: { cat: 1 } }, 'logit_bias', 'invalid_value', "Invalid value for 'logit_bias': 'cat' is not a token id."],
    ['/v1/completions', { ...completion, logit_bias: { 5: 101 } }, 'logit_bias[5]', 'invalid_value', "Invalid value for 'logit_bias[5]': it must be <= 100."],
    ['/v1/completions', { ...completion, presence_penalty: -2.5 }, 'presence_penalty', 'invalid_value', "Invalid value for 'presence_penalty': it must be >= -2."],
    ['/v1/completions', { ...completion, top_logprobs: 3 }, 'top_logprobs', 'unsupported_parameter', "'top_logprobs' is not supported by this server. Leave it out, or send 0."],
    ['/v1/chat/completions', { ...chat, response_format: 'json' }, 'response_format', 'invalid_type', "Invalid type for 'response_format': it must be object."],
    ['/v1/chat/completions', { ...chat, response_format: { type: 'json_schema', json_schema: { name: 'a', schema: {}, strikt: true } } }, 'response_format.json_schema.strikt', 'unknown_parameter', 'Unrecognized request argument supplied: response_format.json_schema.strikt'],
    ['/v1/chat/completions', { ...chat, stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop', 'invalid_value', "Invalid value for 'stop': it must NOT have more than 4 items."],
    ['/v1/chat/completions', { ...chat, temprature: 1 }, 'temprature', 'unknown_parameter', 'Unrecognized request argument supplied: temprature'],
    ['/v1/completions', { ...completion, prompt: undefined }, 'prompt', 'missing_required_parameter', "Missing required parameter: 'prompt'."],
    ['/v1/completions', { ...completion, prompt: [1, 999] }, 'prompt', 'invalid_value', "Invalid value for 'prompt': token 999 is not in the vocabulary of 64."],
    ['/v1/completions', { ...completion, prompt: ['hi', 'a dog', ''] }, 'prompt[2]', 'invalid_value', "Invalid value for 'prompt[2]': it has no tokens."],
    ['/v1/completions', { ...completion, prompt: '' }, 'prompt', 'invalid_value', "Invalid value for 'prompt': it has no tokens."],
    ['/v1/completions', { ...completion, max_tokens: 0 }, 'max_tokens', 'invalid_value', "Invalid value for 'max_tokens': it must be >= 1."],
    ['/v1/completions', { ...completion, echo: true }, 'echo', 'unsupported_parameter', "'echo' is not supported by this server. Leave it out, or send false."],
    ['/v1/completions', { ...completion, logprobs: 6 }, 'logprobs', 'invalid_value', "Invalid value for 'logprobs': it must be <= 5."],
    ['/v1/completions', { ...completion, response_format: { type: 'json_object' } }, 'response_format', 'unsupported_parameter', '\'response_format\' is not supported by this server. Leave it out, or send {"type":"text"}.'],
    ['/v1/embeddings', { model: BASE }, 'input', 'missing_required_parameter', "Missing required parameter: 'input'."],
    ['/v1/embeddings', { model: BASE, input: 5 }, 'input', 'invalid_type', "Invalid type for 'input': it must be string or array."],
    ['/v1/embeddings', { model: BASE, input: [] }, 'input', 'invalid_value', "Invalid value for 'input': it must NOT have fewer than 1 items."],
    ['/v1/embeddings', { model: BASE, input: ['hi', ''] }, 'input[1]', 'invalid_value', "Invalid value for 'input[1]': it has no tokens."],
    ['/v1/embeddings', { model: BASE, input: '' }, 'input', 'invalid_value', "Invalid value for 'input': it has no tokens."],
    ['/v1/embeddings', { model: BASE, input: [[1], [999]] }, 'input[1]', 'invalid_value', "Invalid value for 'input[1]': token 999 is not in the vocabulary of 64."],
    ['/v1/embeddings', { model: BASE, input: ['hi', 'x'.repeat(129)] }, 'input', 'context_length_exceeded', "This model's maximum context length is 128 tokens, and input 1 has 129."],
    ['/v1/embeddings', { model: BASE, input: 'hi', dimensions: 16 }, 'dimensions', 'invalid_value', "Invalid value for 'dimensions': this model's embeddings have 32, and can't be shortened."],
    ['/v1/embeddings', { model: BASE, input: 'hi', encoding_format: 'int8' }, 'encoding_format', 'invalid_value', "Invalid value for 'encoding_format': it must be float or base64."],
    ['/v1/embeddings', { model: BASE, input: 'hi', truncate: true }, 'truncate', 'unknown_parameter', 'Unrecognized request argument supplied: truncate'],
    ['/v1/completions', { ...completion, max_tokens: 200 }, 'max_tokens', 'context_length_exceeded', "This model's maximum context length is 128 tokens. You asked for 202: 2 in the prompt and 200 in the completion."],
    ['/v1/completions', { ...completion, prompt: 'x'.repeat(128) }, 'max_tokens', 'context_length_exceeded', "This model's maximum context length is 128 tokens, and the prompt alone has 128."],
  ])('%s %j is refused by the name of the parameter', async (path, body, param, code, message) => {
    const response = await open.post(path, body);
    expect(await response.json()).toEqual({ error: { message, type: 'invalid_request_error', param, code } });
    expect(response.status).toBe(400);
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect(response.headers.get('x-should-retry')).toBe('false');
  });

  it('is told apart from its neutral form, which changes nothing', async () => {
    const neutral = { frequency_penalty: 0, presence_penalty: 0, logit_bias: {}, logprobs: false, top_logprobs: null, tools: [], response_format: { type: 'text' }, user: 'me', metadata: {}, store: false };
    expect((await open.post('/v1/chat/completions', { ...chat, ...neutral })).status).toBe(200);
    const both = ['max_tokens', 'temperature', 'top_p', 'n', 'seed', 'stop', 'stream', 'stream_options', 'frequency_penalty', 'presence_penalty', 'logit_bias', 'user', 'logprobs', 'service_tier'];
    const nulls = (names: readonly string[]): object => Object.fromEntries(names.map((name) => [name, null]));
    expect((await open.post('/v1/completions', { ...completion, ...nulls([...both, 'echo', 'suffix', 'best_of']) })).status).toBe(200);
    expect((await open.post('/v1/chat/completions', { ...chat, ...nulls([...both, 'max_completion_tokens', 'top_logprobs', 'response_format', 'tools', 'tool_choice', 'reasoning_effort']) })).status).toBe(200);
    const sentBack = { role: 'assistant', content: 'hi', name: null, refusal: null, annotations: [], audio: null, function_call: null, tool_calls: null };
    expect((await open.post('/v1/chat/completions', { ...chat, messages: [sentBack, ...chat.messages] })).status).toBe(200);
    expect((await open.post('/v1/embeddings', { model: BASE, input: 'hi', ...nulls(['dimensions', 'encoding_format', 'user']) })).status).toBe(200);
  });

  it('may be too long for the memory for keys and values where the model takes more', async () => {
    const cache = open.base.model.createCache();
    const kvBytes = cache.bytesFor(64);
    cache.dispose();
    const narrow = await openServer(undefined, { kvBytes });
    try {
      const { contextLength } = narrow.batcher;
      expect(contextLength).toBeLessThan(128);
      await expect(narrow.client.completions.create({ model: BASE, prompt: 'the cat', max_tokens: contextLength })).rejects.toMatchObject({
        status: 400,
        code: 'context_length_exceeded',
        message: `400 This model's maximum context length is ${contextLength} tokens. You asked for ${contextLength + 7}: 7 in the prompt and ${contextLength} in the completion.`,
      });
      expect((await narrow.client.completions.create({ model: BASE, prompt: 'the cat', max_tokens: contextLength - 7, logit_bias: { 2: -100 } })).usage!.total_tokens).toBe(contextLength);
    } finally {
      await narrow.stop();
    }
  });

  it('names a model that is not there', async () => {
    await expect(open.client.chat.completions.create({ model: 'gpt-4', messages: [{ role: 'user', content: 'hi' }] })).rejects.toThrow(OpenAI.NotFoundError);
    const response = await open.post('/v1/completions', { ...completion, model: 'gpt-4' });
    expect(await response.json()).toEqual({ error: { message: `The model 'gpt-4' does not exist. Served here: ${BASE}, ${ADAPTED}, ${BROKEN}.`, type: 'invalid_request_error', param: 'model', code: 'model_not_found' } });
  });

  it('may nest deeper than a reader can go', async () => {
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
    const response = await open.post('/v1/chat/completions', `{"model":"${BASE}","messages":[{"role":"user","content":"hi"}],"tools":${deep}}`);
    expect(await response.json()).toMatchObject({ error: { param: 'tools', code: 'unsupported_parameter' } });
    const schema = await open.post('/v1/chat/completions', `{"model":"${BASE}","messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"a":${deep}}}}}`);
    expect(await schema.json()).toMatchObject({ error: { message: "Invalid schema for 'response_format': at 'response_format.json_schema.schema', it nests more than 64 levels deep.", code: 'unsupported_schema' } });
  });

  it('may not even be JSON, or JSON of another kind', async () => {
    expect(await (await open.post('/v1/completions', '{"model":')).json()).toMatchObject({ error: { message: 'The request body is not valid JSON.', code: 'invalid_json' } });
    expect(await (await open.post('/v1/completions', '[]')).json()).toMatchObject({ error: { message: 'The request body must be a JSON object.' } });
    const wrongType = await open.post('/v1/completions', 'hi', { 'content-type': 'text/plain' });
    expect(wrongType.status).toBe(415);
    expect(await wrongType.json()).toMatchObject({ error: { message: 'The request body must be JSON: send the header content-type: application/json.' } });
    const large = await open.post('/v1/completions', JSON.stringify({ ...completion, prompt: 'x'.repeat(9 * 1024 * 1024) }));
    expect(large.status).toBe(413);
    expect(await large.json()).toMatchObject({ error: { message: 'The request body is larger than 8 MiB.', code: 'body_too_large' } });
  });

  it('may go to an address that there is not', async () => {
    const response = await fetch(`${open.server.url}/v1/embeddings`);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({ error: { message: 'Unknown request URL: GET /v1/embeddings.', type: 'invalid_request_error', param: null, code: 'unknown_url' } });
    const broken = await fetch(`${open.server.url}/v1/models/%ZZ`);
    expect(broken.status).toBe(400);
    expect(broken.headers.get('x-request-id')).toMatch(/^req_/);
    expect(await broken.json()).toMatchObject({ error: { type: 'invalid_request_error', code: 'invalid_url' } });
  });
});
