/** Whatever a model would like to say, what comes out is JSON that its schema accepts. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import type { Tokenizer } from '../../../core/index.ts';
import { rng } from '../../../core/tensor/rng.ts';
import { sampler } from '../../../core/tensor/sampling.ts';
import { byteLevel, bytePieces, pieceTokenizer } from '../../../test/support/piece-tokenizer.ts';
import { TooLarge } from './automaton.ts';
import { grammarOf, JsonConstraint, VocabularyUnknown } from './constraint.ts';
import { SchemaProblem } from './schema.ts';

/** As SentencePiece's, and as GPT-2's: every byte, and tokens that begin in one value and end in another. */
const WORDS = ['true', 'null', 'false', '{"', '":', '","', '"},', ' "', ': ', ' word', 'é', 'ß"', '日本', '😀', '\\u00e9', '\\ud83d\\ude00', '12', '-1', '.5', 'e9', '"a', 'name', '"name":', '}}', ']]', '"}', '[]', '\n  ', '","a":'];
const sentencePiece = await pieceTokenizer('byte-fallback', [...bytePieces('byte-fallback'), ...WORDS.map((word) => word.replaceAll(' ', '\u2581'))]);
const gpt2 = await pieceTokenizer('byte-level', [...bytePieces('byte-level'), ...WORDS.map(byteLevel)]);

const object = (properties: Readonly<Record<string, unknown>>, required = Object.keys(properties)): object => ({ type: 'object', properties, required, additionalProperties: false });

const SCHEMAS: Readonly<Record<string, object>> = {
  'an object whose properties are all required': object({ name: { type: 'string' }, age: { type: 'integer' }, ok: { type: 'boolean' } }),
  'an object whose properties are all optional': object({ a: { type: 'null' }, b: { type: 'boolean' }, c: { type: 'integer' } }, []),
  'optional properties between required ones': object({ a: { type: 'null' }, b: { type: 'boolean' }, c: { type: 'null' }, d: { type: 'null' } }, ['b', 'd']),
  'an object without properties': { type: 'object', additionalProperties: false },
  'keys with quotes, spaces and other scripts': object({ 'a "b"': { type: 'null' }, 'ключ 日本\n': { type: 'boolean' } }),
  'nested objects': object({ outer: object({ inner: object({ value: { type: 'number' } }) }) }),
  'an array of two to three': { type: 'array', items: { type: 'boolean' }, minItems: 2, maxItems: 3 },
  'an array of at least three': { type: 'array', items: { type: 'integer' }, minItems: 3 },
  'an array of at most one': { type: 'array', items: { type: 'null' }, maxItems: 1 },
  'an array that is empty': { type: 'array', items: false },
  'an array of arrays': { type: 'array', items: { type: 'array', items: { type: 'number' }, maxItems: 2 }, minItems: 1, maxItems: 4 },
  'numbers': { type: 'number' },
  'whole numbers': { type: 'integer' },
  'whole numbers of a range': { type: 'array', items: { type: 'integer', minimum: -13, exclusiveMaximum: 108 }, minItems: 8, maxItems: 8 },
  "whole numbers from zero, as zod's safe ones": { type: 'array', items: { type: 'integer', minimum: 0, maximum: 9007199254740991 }, minItems: 3, maxItems: 3 },
  'a string': { type: 'string' },
  'a string of two to four characters': { type: 'string', minLength: 2, maxLength: 4 },
  'a string of at least three characters': { type: 'string', minLength: 3 },
  'an enum of several types': { enum: ['red', 'grün', 'a "quoted"\\ one', 1, -2.5, null, true, { a: [1] }] },
  'an enum that a type narrows': { type: ['string', 'null'], enum: ['red', 'green', 3, null] },
  'a constant': { const: { version: 2, tags: ['a', 'b'] } },
  'one of several types': { type: ['integer', 'null', 'string'] },
  'one of several schemas that begin alike': { anyOf: [object({ kind: { const: 'cat' }, lives: { type: 'integer' } }), object({ kind: { const: 'car' }, doors: { enum: [2, 4] } }), { type: 'null' }] },
  'a list that contains itself': { $ref: '#/$defs/node', $defs: { node: object({ value: { type: 'boolean' }, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } }) } },
  'a tree that is the root itself': object({ children: { type: 'array', items: { $ref: '#' }, maxItems: 2 } }),
  'definitions of older drafts, with escaped names': { $schema: 'http://json-schema.org/draft-07/schema#', definitions: { 'a/b~c d': { type: 'boolean' } }, type: 'array', items: { $ref: '#/definitions/a~1b~0c%20d' }, minItems: 1, maxItems: 2 },
  'a list of what has no end, which stays empty': { ...object({ lists: { type: 'array', items: { $ref: '#/$defs/endless' } } }), $defs: { endless: { type: 'array', items: { $ref: '#/$defs/endless' }, minItems: 1 } } },
  'an alternative that has no end': { anyOf: [{ type: 'integer' }, { type: 'array', items: { $ref: '#/$defs/endless' }, minItems: 1 }], $defs: { endless: object({ more: { $ref: '#/$defs/endless' } }) } },
  'a map of integers': { type: 'object', additionalProperties: { type: 'integer' } },
  'annotations that mean nothing': { title: 'T', description: 'D', default: 3, examples: [1], type: 'integer', deprecated: true, readOnly: false },
  'properties without a type': { properties: { a: { type: 'integer' } }, required: ['a'] },
  'one schema in allOf': { description: 'x', allOf: [{ $ref: '#/$defs/flag' }], $defs: { flag: { type: 'boolean' } } },
  'anything': {},
};

/** What a model that knows nothing says; it has some tokens that no tokenizer has. */
const noise = rng(1, 'logits');
const LOGITS = Array.from({ length: 61 }, () => Float32Array.from({ length: sentencePiece.vocabSize + 3 }, () => noise.normal()));

/** What it says under a constraint. */
function say(tokenizer: Tokenizer, schema: object | undefined, seed: number, most: number): { readonly text: string; readonly whole: boolean } {
  const constraint = new JsonConstraint(grammarOf(tokenizer, schema));
  const choose = sampler({ temperature: 1, seed });
  const ids: number[] = [];
  while (ids.length < most) {
    const { id } = choose(LOGITS[(seed + ids.length) % LOGITS.length]!.slice(), constraint);
    if (tokenizer.eosTokenIds.includes(id)) return { text: tokenizer.decode(ids), whole: true };
    constraint.accept(id);
    ids.push(id);
    if (constraint.complete) return { text: tokenizer.decode(ids), whole: true };
  }
  return { text: tokenizer.decode(ids), whole: false };
}

describe.each([['byte fallback', sentencePiece], ['byte level', gpt2]])('with a vocabulary of %s', (_, tokenizer) => {
  it.each(Object.entries(SCHEMAS))('%s', (_name, schema) => {
    const { $schema: _draft, ...known } = schema as { $schema?: string };
    const validate = new Ajv2020({ strict: false, strictNumbers: true, validateFormats: false }).compile(known);
    let whole = 0;
    for (let seed = 0; seed < 6; seed++) {
      const said = say(tokenizer, schema, seed, 1500);
      if (!said.whole) continue;
      whole++;
      const value: unknown = JSON.parse(said.text);
      expect(validate(value), `${said.text}: ${JSON.stringify(validate.errors)}`).toBe(true);
    }
    expect(whole).toBeGreaterThan(2);
  });

  it('any object', () => {
    const values = Array.from({ length: 6 }, (_, seed) => say(tokenizer, undefined, seed, 1500)).filter(({ whole }) => whole).map(({ text }) => JSON.parse(text) as unknown);
    expect(values.length).toBeGreaterThan(2);
    for (const value of values) expect(Object.prototype.toString.call(value)).toBe('[object Object]');
  });
});

describe('a constraint', () => {
  const open = (schema: object): ((text: string) => { readonly allowed: readonly string[]; readonly end: boolean }) => (text) => {
    const constraint = new JsonConstraint(grammarOf(sentencePiece, schema));
    for (const byte of Buffer.from(text)) constraint.accept(byte);
    const logits = new Float32Array(sentencePiece.vocabSize);
    constraint.mask(logits);
    const allowed = [...logits.keys()].filter((id) => logits[id] === 0);
    return { allowed: allowed.map((id) => sentencePiece.token(id)), end: allowed.includes(sentencePiece.eosTokenIds[0]!) };
  };

  it('lets a text end when its value is whole, and not before', () => {
    const after = open({ type: 'integer' });
    expect(after('').end).toBe(false);
    expect(after('-').end).toBe(false);
    expect(after('12').end).toBe(true);
    expect(open(object({ a: { type: 'null' } }))('{"a":null').end).toBe(false);
  });

  it.each([[-13, 108], [0, 0], [7, 7], [95, 1203], [-120, -3], [-1, 1], [0.5, 9.5]])('counts from %d to %d, and says no other whole number', (minimum, maximum) => {
    const after = open({ type: 'integer', minimum, maximum });
    const reads = (text: string): boolean => [...text].every((character, i) => after(text.slice(0, i)).allowed.includes(`<0x${character.charCodeAt(0).toString(16).toUpperCase()}>`)) && after(text).end;
    for (let value = -130; value <= 130; value++) expect(`${value}: ${reads(String(value))}`).toBe(`${value}: ${value >= minimum && value <= maximum}`);
    for (const value of [999, 1000, 1203, 1204, 12_030, -1000]) expect(`${value}: ${reads(String(value))}`).toBe(`${value}: ${value >= minimum && value <= maximum}`);
    expect(reads('007')).toBe(false);
  });

  it('says that nothing can follow a value that is closed', () => {
    const constraint = new JsonConstraint(grammarOf(sentencePiece, { type: 'boolean' }));
    for (const byte of Buffer.from('tru')) constraint.accept(byte);
    expect(constraint.complete).toBe(false);
    constraint.accept('e'.charCodeAt(0));
    expect(constraint.complete).toBe(true);
  });

  it('allows tokens that reach over several values, and none that reach too far', () => {
    const after = open(object({ name: { type: 'boolean' } }));
    expect(after('{').allowed).toContain('"name":');
    expect(after('{"name":').allowed).toEqual(expect.arrayContaining(['true', 'false', '<0x20>']));
    expect(after('{"name":').allowed).not.toContain('null');
    expect(after('{"name":true').allowed).not.toContain('}}');
  });

  it('never lets half of a character stand', () => {
    const after = open({ type: 'string' });
    const bytes = after('"').allowed;
    expect(bytes).toContain('<0xE6>');
    expect(bytes).not.toContain('<0x97>');
    expect(bytes).not.toContain('<0x0A>');
    const constraint = new JsonConstraint(grammarOf(sentencePiece, { type: 'string' }));
    for (const byte of [0x22, 0xe6]) constraint.accept(byte);
    const logits = new Float32Array(sentencePiece.vocabSize);
    constraint.mask(logits);
    expect([...logits.keys()].filter((id) => logits[id] === 0).every((id) => id >= 0x80 && id <= 0xbf)).toBe(true);
  });

  it('gives up where a text can be read in too many ways, each level twice as many', () => {
    const list = { type: 'array', items: { $ref: '#' } };
    const constraint = new JsonConstraint(grammarOf(sentencePiece, { anyOf: [list, { ...list }] }));
    expect(() => Array.from({ length: 40 }, () => constraint.accept('['.charCodeAt(0)))).toThrow(TooLarge);
  });

  it('is refused where the tokenizer changes what its tokens say', async () => {
    // Read as GPT-2's, its pieces are not what they are decoded to.
    const odd = await pieceTokenizer('byte-level', ['a', byteLevel('é'), byteLevel('\n')]);
    expect(() => grammarOf(odd, undefined)).toThrow(VocabularyUnknown);
  });
});

describe('a schema that is refused', () => {
  const problem = (schema: unknown): { message: string; path: string; unsupported: boolean } => {
    try {
      grammarOf(sentencePiece, schema);
    } catch (error) {
      if (error instanceof SchemaProblem) return { message: error.message, path: error.path.join('/'), unsupported: error.unsupported };
      throw error;
    }
    throw new Error('It was taken.');
  };
  const nested = (depth: number): object => Array.from({ length: depth }).reduce<object>((items) => ({ type: 'array', items }), {});

  it.each([
    [object({ a: { type: 'string', pattern: '^a' } }), 'properties/a/pattern', "'pattern' is not supported"],
    [{ type: 'number', minimum: 0 }, 'minimum', "'minimum' is supported for the type integer alone"],
    [{ type: 'number', multipleOf: 2 }, 'multipleOf', "'multipleOf' is not supported"],
    [{ type: 'string', format: 'date' }, 'format', "'format' is not supported"],
    [{ type: 'array', uniqueItems: true }, 'uniqueItems', "'uniqueItems' is not supported"],
    [{ oneOf: [{ type: 'string' }] }, 'oneOf', "'oneOf' is not supported"],
    [{ not: {} }, 'not', "'not' is not supported"],
    [{ type: 'object', patternProperties: {} }, 'patternProperties', "'patternProperties' is not supported"],
    [{ anyOf: [{ type: 'string' }], properties: {} }, 'properties', "'properties' beside 'anyOf' is not supported"],
    [{ enum: ['a'], minLength: 2 }, 'minLength', "'minLength' beside 'enum' is not supported"],
    [{ allOf: [{}, {}] }, 'allOf', "'allOf' of several schemas is not supported"],
    [{ $ref: 'https://example.com/schema' }, '$ref', "'$ref' to 'https://example.com/schema' is not supported: it must begin with '#/'"],
    [object({ a: false as unknown }), 'properties/a', '`false` allows no value'],
    [{ type: 'array', items: { type: 'array', minItems: 400, maxItems: 40_000 } }, '', 'it is too large: lower its limits (minItems, maxItems, minLength, maxLength), or give it fewer properties'],
    [{ type: 'object', description: 'x'.repeat(300_000) }, '', 'it has more than 262144 characters'],
  ])('asks for what is not offered (%#)', (schema, path, message) => expect(problem(schema)).toEqual({ message, path, unsupported: true }));

  it.each([
    ['text', '', 'it must be an object'],
    [{ type: 'text' }, 'type', 'it must be equal to one of the allowed values'],
    [{ properties: [] }, 'properties', 'it must be object'],
    [{ minItems: -1 }, 'minItems', 'it must be >= 0'],
    [{ enum: 3 }, 'enum', 'it must be array'],
    [{ $ref: '#/$defs/none' }, '$ref', "'$ref' points at '#/$defs/none', and there is no schema"],
    [{ type: 'object', required: ['a'] }, 'required', "'required' names 'a', which 'properties' does not list"],
    [{ type: 'array', minItems: 3, maxItems: 2 }, 'maxItems', "'maxItems' is less than 'minItems'"],
    [{ type: 'integer', minimum: 2.5, maximum: 2.7 }, '', 'no whole number lies between its bounds'],
    [{ type: 'integer', enum: ['a'] }, 'enum', "no value of 'enum' is of the type integer"],
    [{ enum: [] }, 'enum', "'enum' has no values"],
    [object({ me: { $ref: '#' } }), '', 'what it accepts has no end'],
    [{ type: 'array', items: { $ref: '#' }, minItems: 1 }, '', 'what it accepts has no end'],
    [{ $ref: '#' }, '', "a schema refers to itself through '$ref', 'anyOf' or 'allOf' alone"],
    [object({ a: { $ref: '#/$defs/x' } as unknown }), 'properties/a/$ref', "'$ref' points at '#/$defs/x', and there is no schema"],
    [{ ...object({ a: { $ref: '#/$defs/x' } }), $defs: { x: { anyOf: [{ type: 'null' }, { $ref: '#/$defs/y' }] }, y: { anyOf: [{ $ref: '#/$defs/x' }] } } }, '', "a schema refers to itself through '$ref', 'anyOf' or 'allOf' alone"],
  ])('is none (%#)', (schema, path, message) => expect(problem(schema)).toEqual({ message, path, unsupported: false }));

  it('may lead through more references than a reader can follow', () => {
    const chain = Object.fromEntries(Array.from({ length: 4000 }, (_, i) => [`d${i}`, { $ref: `#/$defs/d${i + 1}` }]));
    expect(problem({ $ref: '#/$defs/d0', $defs: { ...chain, d4000: { type: 'null' } } }).message).toBe('its references lead through more than 512 schemas, one inside the other');
  });

  it('may nest deeper than a reader can go', () => {
    expect(() => grammarOf(sentencePiece, nested(40))).not.toThrow();
    expect(problem(nested(100_000)).message).toBe('it nests more than 64 levels deep');
  });
});
