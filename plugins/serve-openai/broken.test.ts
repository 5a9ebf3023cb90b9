/** Adapters that can't be served, as the official client meets them. */
import * as tf from '@tensorflow/tfjs';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { GraftError } from '../../core/index.ts';
import { ADAPTED, BASE, BROKEN, openServer, type TestServer } from '../../test/support/openai-server.ts';

const TORN = 'torn-run';
const EXPLODED = 'exploded-run';
let open: TestServer;
let eager: OpenAI;
let sent = 0;

beforeAll(async () => {
  open = await openServer();
  open.models.add({ id: TORN, plugins: ['inject:lora'], build: () => Promise.reject(new GraftError('SAFETENSORS', 'adapter_model.safetensors ends in the middle of a tensor.', { hint: 'Copy it again.' })) });
  open.models.add(open.adapter(EXPLODED, ({ trainables }) => trainables.forEach(({ variable }) => tf.tidy(() => variable.assign(tf.fill(variable.shape, Number.NaN))))));
  // Tries again by itself, as clients do unless they are told otherwise.
  eager = new OpenAI({
    baseURL: `${open.server.url}/v1`,
    apiKey: 'any',
    fetch: (input, init) => {
      sent++;
      return fetch(input, init);
    },
  });
});

afterEach(() => {
  sent = 0;
  expect(open.errors.splice(0)).toEqual([]);
});

afterAll(() => open.stop());

const completion = { prompt: 'the cat', max_tokens: 12, temperature: 0 } as const;
const chat = { messages: [{ role: 'user', content: 'hi' }], max_completion_tokens: 12, temperature: 0 } as const satisfies Omit<OpenAI.ChatCompletionCreateParamsNonStreaming, 'model'>;

/** Every way to ask a model something. */
const ASKING: Readonly<Record<string, (model: string) => Promise<unknown>>> = {
  'a completion': (model) => eager.completions.create({ ...completion, model }),
  'a completion in a stream': (model) => eager.completions.create({ ...completion, model, stream: true }),
  'a chat': (model) => eager.chat.completions.create({ ...chat, model }),
  'a chat in a stream': (model) => eager.chat.completions.create({ ...chat, model, stream: true }),
  'embeddings': (model) => eager.embeddings.create({ model, input: ['hi', 'the cat'] }),
};

describe.each(Object.entries(ASKING))('%s', (_, ask) => {
  it.each([
    [BROKEN, `The adapter ${BROKEN} can't be served: its weights are cut short`],
    [TORN, `The adapter ${TORN} can't be served: adapter_model.safetensors ends in the middle of a tensor. Copy it again.`],
  ])('of %s, which can not be loaded, is refused with the reason, and asked for once', async (model, message) => {
    const failure = await ask(model).then(() => undefined, (error: unknown) => error as InstanceType<typeof OpenAI.BadRequestError>);
    expect(failure).toBeInstanceOf(OpenAI.BadRequestError);
    expect(failure).toMatchObject({ status: 400, type: 'invalid_request_error', param: 'model', code: 'adapter_broken', message: `400 ${message}` });
    expect(failure!.headers.get('x-should-retry')).toBe('false');
    expect(sent).toBe(1);
  });

  it('of a model that there is not is refused with its name', async () => {
    await expect(ask('gpt-4')).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(ask('gpt-4')).rejects.toMatchObject({ status: 404, type: 'invalid_request_error', param: 'model', code: 'model_not_found' });
    expect(sent).toBe(2);
  });

  it('of an adapter whose numbers are none fails before anything is said, and is not tried again', async () => {
    const failure = await ask(EXPLODED).then(() => undefined, (error: unknown) => error as InstanceType<typeof OpenAI.InternalServerError>);
    expect(failure).toBeInstanceOf(OpenAI.InternalServerError);
    expect(failure).toMatchObject({ status: 500, type: 'server_error', param: 'model', code: 'model_not_finite' });
    expect(failure!.headers.get('x-should-retry')).toBe('false');
    expect(sent).toBe(1);
  });
});

describe('an adapter that is broken', () => {
  it('leaves those be whom it shares a batch with', async () => {
    const [base, adapted] = await Promise.all([BASE, ADAPTED].map((model) => eager.completions.create({ ...completion, model })));
    const models = [BASE, EXPLODED, ADAPTED, BROKEN, EXPLODED, BASE, TORN, ADAPTED];
    const answers = await Promise.allSettled(models.map((model) => eager.completions.create({ ...completion, model, stream: false })));
    const texts = answers.map((answer) => (answer.status === 'fulfilled' ? answer.value.choices[0]!.text : (answer.reason as { code: string }).code));
    const [b, a] = [base!.choices[0]!.text, adapted!.choices[0]!.text];
    expect(texts).toEqual([b, 'model_not_finite', a, 'adapter_broken', 'model_not_finite', b, 'adapter_broken', a]);
  });

  it('is served once it is whole', async () => {
    let whole = false;
    const { build, ...source } = open.adapter('mended-run');
    open.models.add({ ...source, build: (stack) => (whole ? build(stack) : Promise.reject(new Error('its weights are cut short'))) });
    await expect(eager.completions.create({ ...completion, model: 'mended-run' })).rejects.toMatchObject({ code: 'adapter_broken' });
    whole = true;
    expect((await eager.completions.create({ ...completion, model: 'mended-run' })).model).toBe('mended-run');
  });
});
