/** The bodies of requests: what is understood, what is refused by name. */
import { isDeepStrictEqual } from 'node:util';
import { Type, type Static, type TSchema } from 'graft';
import { invalid } from './api-error.ts';

const nullable = <S extends TSchema>(schema: S) => Type.Optional(Type.Union([schema, Type.Null()]));
const Ids = Type.Array(Type.Integer({ minimum: 0 }));

const sampling = {
  model: Type.String({ minLength: 1 }),
  max_tokens: nullable(Type.Integer({ minimum: 1 })),
  temperature: nullable(Type.Number({ minimum: 0, maximum: 2 })),
  top_p: nullable(Type.Number({ exclusiveMinimum: 0, maximum: 1 })),
  n: nullable(Type.Integer({ minimum: 1, maximum: 128 })),
  seed: nullable(Type.Integer()),
  stop: nullable(Type.Union([Type.String(), Type.Array(Type.String(), { maxItems: 4 })])),
  stream: nullable(Type.Boolean()),
  stream_options: nullable(Type.Object({ include_usage: Type.Optional(Type.Boolean()), include_obfuscation: Type.Optional(Type.Boolean()) }, { additionalProperties: false })),
  frequency_penalty: nullable(Type.Number({ minimum: -2, maximum: 2 })),
  presence_penalty: nullable(Type.Number({ minimum: -2, maximum: 2 })),
  /** Token id -> what is added to its logit. */
  logit_bias: nullable(Type.Record(Type.String(), Type.Number({ minimum: -100, maximum: 100 }))),
  user: nullable(Type.String()),
};

export const CompletionBody = Type.Object(
  {
    ...sampling,
    prompt: Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 1, maxItems: 64 }), Type.Array(Type.Integer({ minimum: 0 }), { minItems: 1 }), Type.Array(Ids, { minItems: 1, maxItems: 64 })]),
    logprobs: nullable(Type.Integer({ minimum: 0, maximum: 5 })),
  },
  { additionalProperties: true },
);
export type CompletionBody = Static<typeof CompletionBody>;

export const ChatBody = Type.Object(
  {
    ...sampling,
    messages: Type.Array(
      Type.Object({
        role: Type.String(),
        content: Type.Union([Type.String(), Type.Array(Type.Object({ type: Type.String(), text: Type.Optional(Type.String()) })), Type.Null()]),
        name: nullable(Type.String({ minLength: 1, maxLength: 64, pattern: '^[^\\s<|\\\\/>]+$' })),
      }),
      { minItems: 1 },
    ),
    max_completion_tokens: nullable(Type.Integer({ minimum: 1 })),
    logprobs: nullable(Type.Boolean()),
    top_logprobs: nullable(Type.Integer({ minimum: 0, maximum: 20 })),
    response_format: nullable(
      Type.Object(
        {
          type: Type.String(),
          json_schema: Type.Optional(
            Type.Object(
              { name: Type.String({ pattern: '^[a-zA-Z0-9_-]{1,64}$' }), description: Type.Optional(Type.String()), schema: Type.Optional(Type.Unknown()), strict: nullable(Type.Boolean()) },
              { additionalProperties: false },
            ),
          ),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: true },
);
export type ChatBody = Static<typeof ChatBody>;

/** Texts of one request for embeddings, as at OpenAI. */
const MOST_INPUTS = 2048;

export const EmbeddingBody = Type.Object(
  {
    model: Type.String({ minLength: 1 }),
    input: Type.Union([
      Type.String(),
      Type.Array(Type.String(), { minItems: 1, maxItems: MOST_INPUTS }),
      Type.Array(Type.Integer({ minimum: 0 }), { minItems: 1 }),
      Type.Array(Ids, { minItems: 1, maxItems: MOST_INPUTS }),
    ]),
    encoding_format: nullable(Type.Union([Type.Literal('float'), Type.Literal('base64')])),
    dimensions: nullable(Type.Integer({ minimum: 1 })),
    user: nullable(Type.String()),
  },
  { additionalProperties: true },
);
export type EmbeddingBody = Static<typeof EmbeddingBody>;

/** Parameters of OpenAI's that change an answer in a way that is not offered here, and the values at which they change nothing. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  best_of: [1],
  echo: [false],
  suffix: [''],
  top_logprobs: [0],
  tools: [[]],
  tool_choice: ['none'],
  parallel_tool_calls: [],
  functions: [[]],
  function_call: ['none'],
  response_format: [{ type: 'text' }],
  modalities: [['text']],
  audio: [],
  prediction: [],
  reasoning_effort: [],
  verbosity: [],
  web_search_options: [],
  service_tier: ['auto', 'default'],
};

/** What a message of OpenAI's may have beside its role, content and name: without meaning where it is empty, as in an answer that is sent back. */
const MESSAGE_EXTRAS = new Set(['refusal', 'annotations', 'audio', 'function_call', 'tool_calls', 'tool_call_id']);

/** Parameters that are about the account and not about the answer. */
const INDIFFERENT = new Set(['metadata', 'store', 'safety_identifier', 'prompt_cache_key', 'prompt_cache_retention']);

/**
 * Refuses what would otherwise be ignored in silence.
 * @throws ApiError 400 that names the parameter: unsupported, or not known at all
 */
export function refuseUnsupported(body: Readonly<Record<string, unknown>>, schema: { readonly properties: Readonly<Record<string, unknown>> }): void {
  for (const [name, value] of Object.entries(body)) {
    if (Object.hasOwn(schema.properties, name) || INDIFFERENT.has(name)) continue;
    if (!Object.hasOwn(NEUTRAL, name)) throw invalid(`Unrecognized request argument supplied: ${name}`, name, 'unknown_parameter');
    const neutral = NEUTRAL[name]!;
    if (value === null || neutral.some((allowed) => isDeepStrictEqual(allowed, value))) continue;
    throw invalid(`'${name}' is not supported by this server.${neutral.length > 0 ? ` Leave it out, or send ${JSON.stringify(neutral[0])}.` : ' Leave it out.'}`, name, 'unsupported_parameter');
  }
}

/**
 * Refuses what a message, or a part of its content, has beside what is understood.
 * @param known what is understood
 * @throws ApiError 400 that names it
 */
export function refuseExtras(at: string, given: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  for (const [name, value] of Object.entries(given)) {
    if (known.includes(name)) continue;
    const param = `${at}.${name}`;
    if (!MESSAGE_EXTRAS.has(name)) throw invalid(`Unrecognized request argument supplied: ${param}`, param, 'unknown_parameter');
    if (value === null || isDeepStrictEqual(value, [])) continue;
    throw invalid(`'${param}' is not supported by this server. Leave it out.`, param, 'unsupported_parameter');
  }
}

/** One complaint of the body's schema, as ajv makes it. */
export interface SchemaComplaint {
  readonly keyword: string;
  readonly instancePath: string;
  readonly schemaPath: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string;
}

/** `/messages/0/role` -> `messages[0].role` */
const parameterOf = (pointer: string): string =>
  pointer
    .split('/')
    .slice(1)
    .reduce((name, part) => (/^\d+$/.test(part) ? `${name}[${part}]` : name === '' ? part : `${name}.${part}`), '');

/** Turns what ajv says about a body into one sentence that names the parameter. */
export function bodyError(complaints: readonly SchemaComplaint[]): Error {
  // Of the branches of a union, the complaint that got furthest into the value is about the branch that was meant.
  const depth = (complaint: SchemaComplaint): number => complaint.instancePath.split('/').length * 2 + (complaint.keyword === 'type' ? 0 : 1);
  const told = [...complaints].filter(({ keyword }) => keyword !== 'anyOf').sort((a, b) => depth(b) - depth(a));
  const complaint = told[0] ?? complaints[0];
  if (complaint === undefined) return invalid('The request body is not valid.', null);
  const param = parameterOf(complaint.instancePath);
  if (complaint.keyword === 'required') {
    const missing = [param, String(complaint.params['missingProperty'])].filter((part) => part !== '').join('.');
    return invalid(`Missing required parameter: '${missing}'.`, missing, 'missing_required_parameter');
  }
  if (complaint.keyword === 'additionalProperties') {
    const extra = [param, String(complaint.params['additionalProperty'])].filter((part) => part !== '').join('.');
    return invalid(`Unrecognized request argument supplied: ${extra}`, extra, 'unknown_parameter');
  }
  if (param === '') return invalid('The request body must be a JSON object.', null);
  if (complaint.keyword === 'type') {
    const wanted = complaints.filter((other) => other.keyword === 'type' && other.instancePath === complaint.instancePath && other.params['type'] !== 'null');
    return invalid(`Invalid type for '${param}': it must be ${[...new Set(wanted.map((other) => String(other.params['type'])))].join(' or ')}.`, param, 'invalid_type');
  }
  if (complaint.keyword === 'const') {
    const allowed = complaints.filter((other) => other.keyword === 'const' && other.instancePath === complaint.instancePath).map((other) => String(other.params['allowedValue']));
    return invalid(`Invalid value for '${param}': it must be ${allowed.join(' or ')}.`, param, 'invalid_value');
  }
  return invalid(`Invalid value for '${param}': it ${complaint.message ?? 'is not valid'}.`, param, 'invalid_value');
}
