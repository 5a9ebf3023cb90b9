/** Completions and embeddings, as the official client asks for them. */
import * as tf from '@tensorflow/tfjs';
import type OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ADAPTED, BASE, openServer, type TestServer } from '../../test/support/openai-server.ts';

let open: TestServer;

beforeAll(async () => (open = await openServer()));

afterEach(() => expect(open.errors.splice(0)).toEqual([]));

afterAll(() => open.stop());

describe('/v1/completions', () => {
  const request = { model: BASE, prompt: 'the cat', max_tokens: 12, temperature: 0 } as const;

  it('goes on from a prompt, counts tokens, and says why it ended', async () => {
    const answer = await open.client.completions.create(request);
    expect(answer).toMatchObject({ object: 'text_completion', model: BASE, usage: { prompt_tokens: 7, completion_tokens: 12, total_tokens: 19 } });
    expect(answer.choices).toHaveLength(1);
    expect(answer.choices[0]).toMatchObject({ index: 0, finish_reason: 'length', logprobs: null });
    expect(answer.choices[0]!.text).toHaveLength(12);
    expect(answer.id).toMatch(/^cmpl-[0-9a-f]{32}$/);
    expect(answer._request_id).toMatch(/^req_[0-9a-f]{32}$/);
  });

  it('streams the same text, with the usage when asked', async () => {
    const whole = await open.client.completions.create(request);
    const stream = await open.client.completions.create({ ...request, stream: true, stream_options: { include_usage: true } });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks.map(({ choices }) => choices[0]?.text ?? '').join('')).toBe(whole.choices[0]!.text);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe('length');
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
  });

  it('answers through the stack of the run that is named, and says so in the fingerprint', async () => {
    const [plain, adapted] = await Promise.all([open.client.completions.create(request), open.client.completions.create({ ...request, model: ADAPTED })]);
    expect(adapted.choices[0]!.text).not.toBe(plain.choices[0]!.text);
    expect(adapted.system_fingerprint).toMatch(/^fp_[0-9a-f]{12}$/);
    expect(adapted.system_fingerprint).not.toBe(plain.system_fingerprint);
  });

  it('samples the same for the same seed, and otherwise for another', async () => {
    const sampled = { ...request, temperature: 1.5, max_tokens: 24 };
    const text = async (seed: number, top_p = 1): Promise<string> => (await open.client.completions.create({ ...sampled, seed, top_p })).choices[0]!.text;
    expect(await text(1)).toBe(await text(1));
    expect(await text(1)).not.toBe(await text(2));
    // A nucleus of one token is the greedy choice.
    expect(await text(1, 1e-6)).toBe((await open.client.completions.create({ ...sampled, temperature: 0 })).choices[0]!.text);
  });

  it('ends before a stop string, and shows nothing of it, whole or streamed', async () => {
    const full = (await open.client.completions.create(request)).choices[0]!.text;
    const stop = full.slice(5, 8);
    const before = full.slice(0, full.indexOf(stop));
    const cut = await open.client.completions.create({ ...request, stop: [stop, 'never'] });
    expect(cut.choices[0]).toMatchObject({ text: before, finish_reason: 'stop' });
    let streamed = '';
    for await (const { choices } of await open.client.completions.create({ ...request, stop, stream: true })) streamed += choices[0]?.text ?? '';
    expect(streamed).toBe(before);
  });

  it('answers several prompts with several choices each, by their index', async () => {
    const answer = await open.client.completions.create({ ...request, prompt: ['the cat', 'a dog'], n: 2 });
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(answer.choices[0]!.text).toBe(answer.choices[1]!.text);
    expect(answer.choices[2]!.text).not.toBe(answer.choices[0]!.text);
    expect(answer.usage).toEqual({ prompt_tokens: 12, completion_tokens: 48, total_tokens: 60, prompt_tokens_details: { cached_tokens: 0 } });
  });

  it('takes token ids for a prompt', async () => {
    const ids = Array.from(open.base.tokenizer.encode('the cat'));
    expect((await open.client.completions.create({ ...request, prompt: ids })).choices[0]!.text).toBe((await open.client.completions.create(request)).choices[0]!.text);
  });

  it('tells how likely each token was, where its text begins', async () => {
    const { choices } = await open.client.completions.create({ ...request, logprobs: 0 });
    const { text, logprobs } = choices[0]!;
    expect(logprobs!.tokens!.join('')).toBe(text);
    expect(logprobs!.text_offset).toEqual(Array.from({ length: 12 }, (_, i) => i));
    expect(logprobs!.token_logprobs!.every((value) => value <= 0 && Number.isFinite(value))).toBe(true);
    expect(logprobs!.top_logprobs).toBe(null);
  });

  it('tells of the likeliest beside the chosen one, whole and streamed', async () => {
    const { choices } = await open.client.completions.create({ ...request, temperature: 1.5, seed: 3, logprobs: 2 });
    const { tokens, token_logprobs, top_logprobs } = choices[0]!.logprobs!;
    expect(top_logprobs).toHaveLength(12);
    top_logprobs!.forEach((map, i) => {
      const likeliest = Object.values(map).sort((a, b) => b - a);
      expect(map[tokens![i]!]).toBe(token_logprobs![i]);
      expect(likeliest.length === 2 || (likeliest.length === 3 && likeliest[2] === token_logprobs![i])).toBe(true);
    });
    const streamed = [];
    for await (const chunk of await open.client.completions.create({ ...request, temperature: 1.5, seed: 3, logprobs: 2, stream: true })) streamed.push(...(chunk.choices[0]?.logprobs?.top_logprobs ?? []));
    expect(streamed).toEqual(top_logprobs);
  });

  it('says a token always or never, as logit_bias has it', async () => {
    const id = open.base.tokenizer.encode('z')[0]!;
    expect((await open.client.completions.create({ ...request, logit_bias: { [id]: 100 } })).choices[0]!.text).toBe('z'.repeat(12));
    const first = open.base.tokenizer.encode((await open.client.completions.create(request)).choices[0]!.text[0]!)[0]!;
    const without = (await open.client.completions.create({ ...request, logit_bias: { [first]: -100 } })).choices[0]!.text;
    expect(without).not.toContain(open.base.tokenizer.decode([first]));
  });

  it('takes penalties from what it has said, by count or once', async () => {
    // With this favour the same token comes until a penalty outweighs it.
    const logit_bias = { [open.base.tokenizer.encode('z')[0]!]: 9 };
    const leading = async (penalties: object): Promise<number> => /^z*/.exec((await open.client.completions.create({ ...request, logit_bias, ...penalties })).choices[0]!.text)![0].length;
    expect(await leading({})).toBe(12);
    expect(await leading({ frequency_penalty: 2 })).toBeLessThan(7);
    expect(await leading({ frequency_penalty: 2 })).toBeGreaterThan(1);
    expect(await leading({ presence_penalty: 2 })).toBe(12);
    expect(await leading({ frequency_penalty: -2 })).toBe(12);
  });

  it('streams the choices of several prompts side by side, each complete and as it is whole', async () => {
    const sampled = { ...request, prompt: ['the cat', 'a dog'], n: 2, temperature: 1.5, seed: 8 };
    const whole = await open.client.completions.create(sampled);
    const texts = new Map<number, string>();
    const order: number[] = [];
    for await (const { choices } of await open.client.completions.create({ ...sampled, stream: true })) {
      for (const { index, text } of choices) {
        texts.set(index, (texts.get(index) ?? '') + text);
        order.push(index);
      }
    }
    expect([...texts].sort(([a], [b]) => a - b).map(([, text]) => text)).toEqual(whole.choices.map(({ text }) => text));
    // All have begun before any has ended.
    expect(new Set(order.slice(0, order.length / 2)).size).toBe(4);
  });
});

describe('/v1/embeddings', () => {
  const request = { model: BASE, input: 'the cat' } as const;

  it('gives the last hidden state of the last token at unit length', async () => {
    const { object, data, usage, model } = await open.client.embeddings.create({ ...request, encoding_format: 'float' });
    expect({ object, model, usage }).toEqual({ object: 'list', model: BASE, usage: { prompt_tokens: 7, total_tokens: 7 } });
    expect(data.map(({ index, object: kind, embedding }) => ({ index, kind, length: embedding.length }))).toEqual([{ index: 0, kind: 'embedding', length: 32 }]);
    const ids = open.base.tokenizer.encode('the cat');
    const hidden = tf.tidy(() => open.base.model.forward({ inputIds: ids, labels: ids, offsets: Int32Array.of(0, ids.length), positions: Int32Array.from(ids.keys()) }).slice([ids.length - 1, 0], [1, -1]).dataSync() as Float32Array);
    const length = Math.sqrt(hidden.reduce((sum, value) => sum + value ** 2, 0));
    data[0]!.embedding.forEach((value, i) => expect(value).toBeCloseTo(hidden[i]! / length, 5));
  });

  it('takes texts, ids and lists of them, and gives each its own in order', async () => {
    const ids = (text: string): number[] => Array.from(open.base.tokenizer.encode(text));
    const embed = async (input: OpenAI.EmbeddingCreateParams['input']): Promise<number[][]> => (await open.client.embeddings.create({ ...request, input, encoding_format: 'float' })).data.map(({ embedding }) => embedding);
    const [cat, dog] = [(await embed('the cat'))[0]!, (await embed('a dog'))[0]!];
    for (const both of [await embed(['the cat', 'a dog']), await embed([ids('the cat'), ids('a dog')])]) {
      both.forEach((vector, i) => vector.forEach((value, j) => expect(value).toBeCloseTo([cat, dog][i]![j]!, 5)));
    }
    expect(await embed(ids('the cat'))).toEqual([cat]);
  });

  it('comes as base64 where asked, which is what the client asks for by itself', async () => {
    const floats = (await open.client.embeddings.create({ ...request, encoding_format: 'float' })).data[0]!.embedding;
    expect((await open.client.embeddings.create(request)).data[0]!.embedding).toEqual(floats);
    const raw = (await (await open.post('/v1/embeddings', { ...request, encoding_format: 'base64' })).json()) as { data: { embedding: string }[] };
    expect(Buffer.from(raw.data[0]!.embedding, 'base64')).toHaveLength(32 * 4);
  });

  it("goes through the adapter's stack, and may name the size that there is", async () => {
    const [plain, adapted] = await Promise.all([open.client.embeddings.create({ ...request, dimensions: 32 }), open.client.embeddings.create({ ...request, model: ADAPTED })]);
    expect(adapted.data[0]!.embedding).not.toEqual(plain.data[0]!.embedding);
  });
});
