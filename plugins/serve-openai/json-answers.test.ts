/** Answers in JSON as the official client asks for them and parses them: many schemas, each by several seeds. */
import type OpenAI from 'openai';
import { LengthFinishReasonError } from 'openai/error';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BASE, byteModel, openServer, type TestServer } from '../../test/support/openai-server.ts';

let open: TestServer;

/** Tokens that reach over what JSON keeps apart, and parts of characters. */
const WORDS = ['{"', '"}', '":', '":\u2581"', '","', '",\u2581"', '"],', '[{"', '\u2581true', 'null', '}]}', '12', '00', 'e9', '1.5', '\u2581\u2581', 'kind', 'a"', 'na', 'me', '\\u00', '\\"', '世', 'é"'];

beforeAll(async () => (open = await openServer(await byteModel(WORDS))));

afterEach(() => expect(open.errors.splice(0)).toEqual([]));

afterAll(() => open.stop());

type Schema = Readonly<Record<string, unknown>>;
const closed = (properties: Schema, required = Object.keys(properties)): Schema => ({ type: 'object', properties, required, additionalProperties: false });
const short = { type: 'string', maxLength: 6 };
const PERSON = closed({ name: short, age: { type: 'integer', minimum: 18, maximum: 130 }, mood: { enum: ['glad', 'sad', null] }, tags: { type: 'array', items: short, minItems: 1, maxItems: 3 } });

/** All of a length that fits the context. */
const SCHEMAS: Readonly<Record<string, Schema>> = {
  'a person': PERSON,
  'nested objects': closed({ a: closed({ b: closed({ c: { type: 'null' }, d: { type: 'boolean' } }), e: short }) }),
  'properties of which only some must be there': closed({ a: { type: 'boolean' }, b: { type: 'null' }, 'ab "c"': { type: 'integer', minimum: 0, maximum: 999 }, d: short }, ['b']),
  'whole numbers of ranges': { type: 'array', items: { anyOf: [{ type: 'integer', minimum: -7, exclusiveMaximum: 12 }, { type: 'integer', exclusiveMinimum: 999, maximum: 20_500 }] }, minItems: 6, maxItems: 6 },
  'texts of a length': { type: 'array', items: { type: 'string', minLength: 2, maxLength: 4 }, minItems: 4, maxItems: 4 },
  'constants of all kinds': { type: 'array', items: { anyOf: [{ const: { x: [1, 'é\n"'] } }, { const: -1.5e-7 }, { enum: ['a', 'ab', 1, 12, true], type: ['string', 'integer'] }] }, minItems: 2, maxItems: 5 },
  'alternatives that begin alike': { anyOf: [closed({ kind: { const: 'a' }, v: { type: 'integer', minimum: 0, maximum: 9 } }), closed({ kind: { const: 'ab' }, w: { type: 'null' } })] },
  'a list by reference': { $ref: '#/$defs/node', $defs: { node: closed({ on: { type: 'boolean' }, next: { anyOf: [{ type: 'null' }, { $ref: '#/$defs/leaf' }] } }), leaf: closed({ off: { enum: ['yes', 'no'] } }) } },
  'one of several types': { type: ['string', 'null', 'boolean', 'array'], maxLength: 9, maxItems: 2, items: { type: 'boolean' } },
  'one schema in allOf': { ...closed({ flag: { allOf: [{ $ref: '#/$defs/flag' }] } }), $defs: { flag: { type: 'boolean', description: 'as pydantic writes it' } } },
  'a choice of words': closed({ colour: { enum: ['red', 'green', 'grün', 'a "quoted"\\ one', '日本 😀'] }, size: { type: 'string', enum: ['S', 'M', 'L'] } }),
  'tables': { type: 'array', items: { type: 'array', items: { enum: [0, 1] }, minItems: 2, maxItems: 2 }, minItems: 3, maxItems: 3 },
  'an empty object': closed({}),
  'lists that can only be empty': { ...closed({ lists: { type: 'array', items: { $ref: '#/$defs/endless' } } }), $defs: { endless: { type: 'array', items: { $ref: '#/$defs/endless' }, minItems: 1 } } },
};

const asked = (schema: Schema) => ({ type: 'json_schema', json_schema: { name: 'x', strict: true, schema: schema as Record<string, unknown> } }) as const;
const chat = { model: BASE, messages: [{ role: 'user', content: 'hi' }], max_completion_tokens: 450, temperature: 1 } satisfies OpenAI.ChatCompletionCreateParamsNonStreaming;

describe('an answer of a schema', () => {
  it.each(Object.entries(SCHEMAS))('of %s is whole, parses, and is what the schema accepts', async (_, schema) => {
    const validate = new Ajv2020({ strict: false }).compile(schema);
    for (const seed of [1, 20]) {
      const { choices } = await open.client.chat.completions.parse({ ...chat, n: 4, seed, response_format: asked(schema) });
      for (const { message, finish_reason } of choices) {
        expect(finish_reason).toBe('stop');
        expect(message.parsed).toEqual(JSON.parse(message.content!));
        expect(validate(message.parsed), `${message.content}: ${JSON.stringify(validate.errors)}`).toBe(true);
      }
    }
  });

  it('is refused where there is none, rather than begun', async () => {
    await expect(open.client.chat.completions.create({ ...chat, response_format: asked(closed({ me: { $ref: '#' } })) })).rejects.toMatchObject({
      status: 400,
      code: 'invalid_schema',
      message: "400 Invalid schema for 'response_format': at 'response_format.json_schema.schema', what it accepts has no end.",
    });
  });

  it('is the same in a stream', async () => {
    const request = { ...chat, n: 2, seed: 5, response_format: asked(PERSON) };
    const whole = await open.client.chat.completions.create(request);
    const streamed = await open.client.chat.completions.stream(request).finalChatCompletion();
    expect(streamed.choices.map(({ message }) => message.content)).toEqual(whole.choices.map(({ message }) => message.content));
    expect(streamed.choices.map(({ finish_reason }) => finish_reason)).toEqual(['stop', 'stop']);
  });

  it('is greedy without chance, and then the same each time', async () => {
    const contents = async (): Promise<(string | null)[]> => (await open.client.chat.completions.create({ ...chat, temperature: 0, n: 2, response_format: asked(PERSON) })).choices.map(({ message }) => message.content);
    const [first, second] = await contents();
    expect(second).toBe(first);
    expect(await contents()).toEqual([first, first]);
  });

  it('is told to be cut short by an error of the client, where tokens run out', async () => {
    const request = { ...chat, max_completion_tokens: 12, response_format: asked({ type: 'string', minLength: 300 }) };
    await expect(open.client.chat.completions.parse(request)).rejects.toBeInstanceOf(LengthFinishReasonError);
    const { choices, usage } = await open.client.chat.completions.create(request);
    expect(choices[0]).toMatchObject({ finish_reason: 'length', message: { content: expect.stringMatching(/^\s*"/) as string } });
    expect(usage!.completion_tokens).toBe(12);
  });

  it('ends before a stop string, too', async () => {
    const { choices } = await open.client.chat.completions.create({ ...chat, seed: 2, stop: '"b"', response_format: asked(closed({ a: { type: 'null' }, b: { type: 'null' } })) });
    expect(choices[0]!.finish_reason).toBe('stop');
    expect(choices[0]!.message.content).toMatch(/^\s*\{\s*"a"\s*:\s*null\s*,\s*$/);
  });

  it('holds nobody else to it who is answered at the same time', async () => {
    const free = { ...chat, max_completion_tokens: 20, seed: 6 };
    const alone = (await open.client.chat.completions.create(free)).choices[0]!.message.content;
    const [held, other, text] = await Promise.all([
      open.client.chat.completions.create({ ...free, response_format: asked({ const: 'b' }) }),
      open.client.chat.completions.create({ ...free, response_format: asked({ enum: [true, false] }) }),
      open.client.chat.completions.create({ ...free, response_format: { type: 'text' } }),
    ]);
    expect(JSON.parse(held.choices[0]!.message.content!)).toBe('b');
    expect(JSON.parse(other.choices[0]!.message.content!)).toBeTypeOf('boolean');
    expect(text.choices[0]!.message.content).toBe(alone);
  });
});

describe('an answer of any object', () => {
  it('is one for every seed that reaches its end', async () => {
    // With a favour for closing brackets most do.
    const logit_bias = Object.fromEntries([...Buffer.from(']}"')].map((id) => [id, 4]));
    let whole = 0;
    for (const seed of [1, 30]) {
      for (const { message, finish_reason } of (await open.client.chat.completions.create({ ...chat, n: 4, seed, logit_bias, response_format: { type: 'json_object' } })).choices) {
        expect(message.content).toMatch(/^\s*(\{|$)/);
        if (finish_reason !== 'stop') continue;
        whole++;
        expect(Object.prototype.toString.call(JSON.parse(message.content!))).toBe('[object Object]');
      }
    }
    expect(whole).toBeGreaterThan(3);
  });
});
