/** A JSON schema as an automaton: everything that it accepts is valid against the schema. What can't be had so is refused by name. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { Automaton, TooLarge, type Rule } from './automaton.ts';
import { prune } from './endless.ts';
import { integerRange } from './integer-range.ts';
import { Values } from './values.ts';

type Schema = Readonly<Record<string, unknown>>;

/** Why a schema can't be followed. */
export class SchemaProblem extends Error {
  constructor(
    message: string,
    /** Keys and indices from the schema's root to what is at fault. */
    readonly path: readonly string[],
    /** Whether it is a schema, and asks for what is not offered. */
    readonly unsupported: boolean,
  ) {
    super(message);
  }
}

/** Keywords that say nothing about which values are valid. */
const ANNOTATIONS = new Set(['$schema', '$id', '$comment', '$defs', 'definitions', 'title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly']);
/** Keywords that are understood with the type that they are about. */
const TYPE_TO_KEYWORDS: Readonly<Record<string, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  number: [],
  boolean: [],
  null: [],
};
const UNDERSTOOD = new Set(['type', ...Object.values(TYPE_TO_KEYWORDS).flat()]);
/** Keywords at the value at which they ask for nothing. */
const NEUTRAL: Readonly<Record<string, unknown>> = { uniqueItems: false, minProperties: 0, nullable: false };
const DEEPEST = 64;
/** Schemas inside each other, references followed. */
const MOST_FOLLOWED = 512;

/** @returns an automaton and its rule for any object */
export function anyObject(): { readonly automaton: Automaton; readonly rule: Rule } {
  const automaton = new Automaton();
  return { automaton, rule: new Values(automaton).object };
}

/**
 * Compiles a schema. Properties come in the schema's order, those that it does not list are not written, and numbers have at
 * most 18 digits before and after the point.
 * @param schema of bounded depth, see `checkDepth`
 * @throws SchemaProblem
 */
export function compileSchema(schema: unknown): { readonly automaton: Automaton; readonly rule: Rule } {
  checkSchema(schema);
  const automaton = new Automaton();
  const compiler = new Compiler(automaton, schema as Schema);
  try {
    return { automaton, rule: compiler.compile() };
  } catch (error) {
    if (error instanceof TooLarge) throw new SchemaProblem('it is too large: lower its limits (minItems, maxItems, minLength, maxLength), or give it fewer properties', [], true);
    throw error;
  }
}

class Compiler {
  readonly #automaton: Automaton;
  readonly #values: Values;
  readonly #root: Schema;
  readonly #schemaToRule = new Map<Schema, Rule>();
  /** Schemas that stand for another without a byte of their own. */
  readonly #schemaToAliases = new Map<Schema, Schema[]>();
  #followed = 0;

  constructor(automaton: Automaton, root: Schema) {
    this.#automaton = automaton;
    this.#values = new Values(automaton);
    this.#root = root;
  }

  compile(): Rule {
    const rule = this.#ruleOf(this.#root, []);
    this.#checkAliases();
    if (!prune(this.#automaton, rule)) throw new SchemaProblem('what it accepts has no end', [], false);
    return rule;
  }

  /** The rule of a schema, one for each, so that it may contain itself. */
  #ruleOf(schema: unknown, path: readonly string[]): Rule {
    if (schema === true) return this.#values.any;
    if (schema === false) throw new SchemaProblem('`false` allows no value', path, true);
    const known = this.#schemaToRule.get(schema as Schema);
    if (known !== undefined) return known;
    const rule = this.#automaton.declare();
    this.#schemaToRule.set(schema as Schema, rule);
    if (++this.#followed > MOST_FOLLOWED) throw new SchemaProblem(`its references lead through more than ${MOST_FOLLOWED} schemas, one inside the other`, [], true);
    this.#automaton.define(rule, (from) => this.#automaton.call(from, this.#bodyOf(schema as Schema, path)));
    this.#followed--;
    return rule;
  }

  #bodyOf(schema: Schema, path: readonly string[]): Rule {
    const keywords = Object.keys(schema).filter((key) => !ANNOTATIONS.has(key) && !(Object.hasOwn(NEUTRAL, key) && schema[key] === NEUTRAL[key]));
    const only = (keyword: string, ...others: readonly string[]): void => {
      const beside = keywords.find((key) => key !== keyword && !others.includes(key));
      if (beside !== undefined) throw new SchemaProblem(`'${beside}' beside '${keyword}' is not supported`, [...path, beside], true);
    };
    if (keywords.includes('$ref')) {
      only('$ref');
      return this.#alias(schema, this.#target(String(schema['$ref']), path), [...path, '$ref']);
    }
    for (const keyword of ['anyOf', 'allOf']) {
      if (!keywords.includes(keyword)) continue;
      only(keyword);
      const parts = schema[keyword] as readonly unknown[];
      if (keyword === 'allOf' && parts.length > 1) throw new SchemaProblem("'allOf' of several schemas is not supported", [...path, 'allOf'], true);
      return this.#values.anyOf(parts.map((part, i) => this.#alias(schema, part, [...path, keyword, String(i)])));
    }
    for (const keyword of ['const', 'enum']) {
      if (!keywords.includes(keyword)) continue;
      only(keyword, 'type');
      const types = typesOf(schema);
      const values = (keyword === 'const' ? [schema['const']] : (schema['enum'] as readonly unknown[])).filter((value) => types.length === 0 || types.some((type) => isOfType(value, type)));
      if (values.length === 0) throw new SchemaProblem(types.length === 0 ? `'${keyword}' has no values` : `no value of '${keyword}' is of the type ${types.join(' or ')}`, [...path, keyword], false);
      return this.#values.oneOf(values);
    }
    const foreign = keywords.find((key) => !UNDERSTOOD.has(key));
    if (foreign !== undefined) throw new SchemaProblem(`'${foreign}' is not supported`, [...path, foreign], true);
    const types = typesOf(schema);
    if (types.length > 0) return this.#values.anyOf(types.map((type) => this.#ofType(type, schema, path)));
    // Without a type, a keyword says which one is meant: bounds mean whole numbers, too.
    const meant = Object.keys(TYPE_TO_KEYWORDS).filter((type) => TYPE_TO_KEYWORDS[type]!.some((key) => keywords.includes(key)));
    return meant.length === 0 ? this.#values.any : this.#values.anyOf(meant.map((type) => this.#ofType(type, schema, path)));
  }

  #ofType(type: string, schema: Schema, path: readonly string[]): Rule {
    switch (type) {
      case 'object':
        return this.#object(schema, path);
      case 'array': {
        const { items = true } = schema;
        const bounds = boundsOf(schema, 'minItems', 'maxItems', path);
        return this.#values.array(items === false ? this.#values.null : this.#ruleOf(items, [...path, 'items']), items === false ? none(bounds, path) : bounds);
      }
      case 'string': {
        const bounds = boundsOf(schema, 'minLength', 'maxLength', path);
        return bounds.least === 0 && bounds.most === undefined ? this.#values.string : this.#values.stringOf(bounds);
      }
      case 'integer':
        return this.#integer(schema, path);
      case 'number': {
        const bound = TYPE_TO_KEYWORDS['integer']!.find((key) => Object.hasOwn(schema, key));
        if (bound !== undefined) throw new SchemaProblem(`'${bound}' is supported for the type integer alone`, [...path, bound], true);
        return this.#values.number;
      }
      default:
        return this.#values[type as 'boolean' | 'null'];
    }
  }

  #integer(schema: Schema, path: readonly string[]): Rule {
    const read = (keyword: string): number | undefined => schema[keyword] as number | undefined;
    const [from, above, to, below] = [read('minimum'), read('exclusiveMinimum'), read('maximum'), read('exclusiveMaximum')];
    if ([from, above, to, below].every((bound) => bound === undefined)) return this.#values.integer;
    const least = [...(from === undefined ? [] : [BigInt(Math.ceil(from))]), ...(above === undefined ? [] : [BigInt(Math.floor(above)) + 1n])];
    const most = [...(to === undefined ? [] : [BigInt(Math.floor(to))]), ...(below === undefined ? [] : [BigInt(Math.ceil(below)) - 1n])];
    const rule = integerRange(this.#automaton, least.length === 0 ? undefined : least.reduce((a, b) => (b > a ? b : a)), most.length === 0 ? undefined : most.reduce((a, b) => (b < a ? b : a)));
    if (rule === undefined) throw new SchemaProblem('no whole number lies between its bounds', path, false);
    return rule;
  }

  #object(schema: Schema, path: readonly string[]): Rule {
    const properties = Object.entries((schema['properties'] ?? {}) as Readonly<Record<string, unknown>>);
    const required = new Set((schema['required'] ?? []) as readonly string[]);
    const unlisted = [...required].find((name) => !properties.some(([listed]) => listed === name));
    if (unlisted !== undefined) throw new SchemaProblem(`'required' names '${unlisted}', which 'properties' does not list`, [...path, 'required'], false);
    if (properties.length > 0) {
      return this.#values.objectOf(properties.map(([name, value]) => ({ name, value: this.#ruleOf(value, [...path, 'properties', name]), required: required.has(name) })));
    }
    const { additionalProperties: others = true } = schema;
    if (others === false) return this.#values.objectOf([]);
    return others === true ? this.#values.object : this.#values.map(this.#ruleOf(others, [...path, 'additionalProperties']));
  }

  #alias(from: Schema, to: unknown, path: readonly string[]): Rule {
    if (typeof to === 'object') this.#schemaToAliases.set(from, [...(this.#schemaToAliases.get(from) ?? []), to as Schema]);
    return this.#ruleOf(to, path);
  }

  /** What a `$ref` such as `#/$defs/node` points at (RFC 6901). */
  #target(reference: string, path: readonly string[]): unknown {
    const at = [...path, '$ref'];
    if (reference !== '#' && !reference.startsWith('#/')) throw new SchemaProblem(`'$ref' to '${reference}' is not supported: it must begin with '#/'`, at, true);
    let found: unknown = this.#root;
    for (const part of reference.split('/').slice(1)) {
      const key = unescaped(part);
      found = typeof found === 'object' && found !== null && Object.hasOwn(found, key) ? (found as Schema)[key] : undefined;
    }
    if (typeof found !== 'boolean' && (typeof found !== 'object' || found === null || Array.isArray(found))) throw new SchemaProblem(`'$ref' points at '${reference}', and there is no schema`, at, false);
    return found;
  }

  /** A schema that stands for itself has no values, and an automaton that follows it no end. */
  #checkAliases(): void {
    const done = new Set<Schema>();
    const visit = (schema: Schema, chain: ReadonlySet<Schema>): void => {
      if (chain.has(schema)) throw new SchemaProblem("a schema refers to itself through '$ref', 'anyOf' or 'allOf' alone", [], false);
      if (done.has(schema)) return;
      for (const alias of this.#schemaToAliases.get(schema) ?? []) visit(alias, new Set([...chain, schema]));
      done.add(schema);
    };
    for (const schema of this.#schemaToAliases.keys()) visit(schema, new Set());
  }
}

const typesOf = (schema: Schema): readonly string[] => (Array.isArray(schema['type']) ? (schema['type'] as string[]) : typeof schema['type'] === 'string' ? [schema['type']] : []);

function isOfType(value: unknown, type: string): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return type === 'integer' ? Number.isInteger(value) : typeof value === type;
}

function boundsOf(schema: Schema, least: string, most: string, path: readonly string[]): { readonly least: number; readonly most?: number } {
  const [from, to] = [(schema[least] as number | undefined) ?? 0, schema[most] as number | undefined];
  if (to !== undefined && to < from) throw new SchemaProblem(`'${most}' is less than '${least}'`, [...path, most], false);
  return { least: from, ...(to === undefined ? {} : { most: to }) };
}

function none({ least }: { readonly least: number }, path: readonly string[]): { readonly least: number; readonly most: number } {
  if (least > 0) throw new SchemaProblem("'items' allows none, and 'minItems' asks for some", [...path, 'minItems'], false);
  return { least: 0, most: 0 };
}

function unescaped(part: string): string {
  const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
  try {
    return decodeURIComponent(key);
  } catch {
    // A percent sign that begins no escape stands for itself.
    return key;
  }
}

/**
 * Whoever reads a schema goes as deep as it nests.
 * @throws SchemaProblem
 */
export function checkDepth(value: unknown, depth = 0): void {
  if (typeof value !== 'object' || value === null) return;
  if (depth > DEEPEST) throw new SchemaProblem(`it nests more than ${DEEPEST} levels deep`, [], true);
  for (const inner of Object.values(value)) checkDepth(inner, depth + 1);
}

let metaSchema: Ajv2020 | undefined;

/** Whether its keywords have values that they may have (JSON Schema 2020-12). */
function checkSchema(schema: unknown): void {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) throw new SchemaProblem('it must be an object', [], false);
  const { $schema: _draft, ...own } = schema as Schema;
  metaSchema ??= new Ajv2020({ strict: false, validateFormats: false, logger: false });
  if (metaSchema.validateSchema(own) === true) return;
  const complaint = [...(metaSchema.errors ?? [])].sort((a, b) => b.instancePath.length - a.instancePath.length)[0];
  throw new SchemaProblem(`it ${complaint?.message ?? 'is not a JSON schema'}`, (complaint?.instancePath ?? '').split('/').slice(1).map(unescaped), false);
}
