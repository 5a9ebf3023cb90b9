import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import type { Findings } from './diagnostic.ts';
import type { ConfigNode, ScalarNode } from './node.ts';

/** The parts of JSON schema that say what a string may be, and our two keywords. */
interface SchemaNode {
  readonly [keyword: string]: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode | readonly SchemaNode[];
  /** `${NAME}` in this string is the value of that environment variable. */
  readonly graftEnv?: boolean;
  /**
   * true: this string is a path, relative to the file that wrote it. false: it never is. Left out: it is one where it
   * cannot be anything else, that is where it begins with `./`, `../` or `~/`.
   */
  readonly graftPath?: boolean;
}

/** Plain data twice: as plugins get it, and as a run directory keeps it, where secrets stay `${NAME}`. */
export interface Settled {
  readonly value: unknown;
  readonly written: unknown;
}

/** Fills in environment variables where the schema allows them, and makes paths absolute. */
export class StringSettler {
  readonly #env: NodeJS.ProcessEnv;
  readonly #findings: Findings;

  constructor(env: NodeJS.ProcessEnv, findings: Findings) {
    this.#env = env;
    this.#findings = findings;
  }

  settle(node: ConfigNode, schema: object): Settled {
    return this.#settle(node, branchesOf(schema));
  }

  #settle(node: ConfigNode, schemas: readonly SchemaNode[]): Settled {
    if (node.kind === 'list') {
      const items = node.items.map((item, index) => this.#settle(item, schemas.flatMap((schema) => itemBranches(schema, index))));
      return { value: items.map((item) => item.value), written: items.map((item) => item.written) };
    }
    if (node.kind === 'map') {
      const entries = [...node.entries].map(([key, entry]) => [key, this.#settle(entry.node, schemas.flatMap((schema) => propertyBranches(schema, key)))] as const);
      return {
        value: Object.fromEntries(entries.map(([key, settled]) => [key, settled.value])),
        written: Object.fromEntries(entries.map(([key, settled]) => [key, settled.written])),
      };
    }
    return typeof node.value === 'string' ? this.#string(node, node.value, schemas) : { value: node.value, written: node.value };
  }

  #string(node: ScalarNode, text: string, schemas: readonly SchemaNode[]): Settled {
    const strings = schemas.filter((schema) => schema['type'] === undefined || schema['type'] === 'string');
    const filled = this.#fill(node, text, strings.some((schema) => schema.graftEnv === true));
    const value = absolute(filled, node.span.source.dir, strings);
    return { value, written: text.includes('${') ? text : value };
  }

  #fill(node: ScalarNode, text: string, allowed: boolean): string {
    const { source, start, end } = node.span;
    const written = source.text.slice(start, end);
    let cursor = 0;
    return text.replace(/\$\$\{|\$\{([^}]*)\}?/g, (reference: string, name: string | undefined) => {
      if (name === undefined) return '${';
      const problem = this.#problemOf(reference, name, allowed);
      if (problem === undefined) return this.#env[name] ?? '';
      const at = written.indexOf(reference, cursor);
      const span = at === -1 ? node.span : { source, start: start + at, end: start + at + reference.length };
      cursor = Math.max(cursor, at + reference.length);
      this.#findings.add(span, problem.code, problem.message);
      return reference;
    });
  }

  #problemOf(reference: string, name: string, allowed: boolean): { readonly code: string; readonly message: string } | undefined {
    const escape = `Write \`$${reference}\` for the text itself.`;
    if (!allowed) return { code: 'ENV_NOT_ALLOWED', message: `\`${reference}\` is not filled in here: this option does not read environment variables. ${escape}` };
    if (!reference.endsWith('}') || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      return { code: 'ENV_SYNTAX', message: `\`${reference}\` is not the name of an environment variable in braces, such as \`\${HOME}\`. ${escape}` };
    }
    if (this.#env[name] === undefined) return { code: 'ENV_MISSING', message: `The environment variable \`${name}\` is not set. Set it before starting graft. ${escape}` };
    return undefined;
  }
}

function absolute(text: string, dir: string, schemas: readonly SchemaNode[]): string {
  if (!isPath(text, schemas)) return text;
  return text === '~' || text.startsWith('~/') ? join(homedir(), text.slice(1)) : resolve(dir, text);
}

/** Whether a string is a path: as its schema says, else where it begins like a relative one. */
function isPath(text: string, schemas: readonly SchemaNode[]): boolean {
  if (text === '' || schemas.some((schema) => schema.graftPath === false)) return false;
  return schemas.some((schema) => schema.graftPath === true) || /^(\.{1,2}|~)(\/|$)/.test(text);
}

/** `/…/`, by which options name modules and parameters. It has no further `/`, and a folder's path that ends with one mostly has. */
const REGULAR_EXPRESSION = /^\/(?:[^/\\]|\\.)+\/$/;

/** Whether a string is one machine's alone. The default of its schema is everybody's. */
function isPrivate(text: string, schemas: readonly SchemaNode[]): boolean {
  if (schemas.some((schema) => schema['default'] === text)) return false;
  if (schemas.some((schema) => schema.graftEnv === true) || isPath(text, schemas)) return true;
  return isAbsolute(text) && !REGULAR_EXPRESSION.test(text) && !schemas.some((schema) => schema.graftPath === false);
}

/** What of some options may leave this machine, and what stays. */
export interface SharableOptions {
  readonly options: Readonly<Record<string, unknown>>;
  /** Names of those that were left out, dotted where they are nested. */
  readonly withheld: readonly string[];
}

/**
 * Options as they may leave this machine: without those that may be read from its environment, and without paths. A list
 * that has one is left out as a whole.
 * @param options settled: paths are absolute
 * @param schema undefined where it is not known: every option may then be a secret
 */
export function sharableOptions(options: object, schema: object | undefined): SharableOptions {
  if (schema === undefined) return { options: {}, withheld: Object.keys(options) };
  const { kept, withheld } = sharable(options, branchesOf(schema), '');
  return { options: kept as SharableOptions['options'], withheld };
}

/** @returns `kept` is undefined where the whole value is to stay here */
function sharable(value: unknown, schemas: readonly SchemaNode[], name: string): { readonly kept: unknown; readonly withheld: readonly string[] } {
  const whole = { kept: value, withheld: [] };
  const none = { kept: undefined, withheld: [name] };
  if (typeof value === 'string') return isPrivate(value, schemas) ? none : whole;
  if (typeof value !== 'object' || value === null) return whole;
  if (Array.isArray(value)) {
    const items = value.map((item, index) => sharable(item, schemas.flatMap((schema) => itemBranches(schema, index)), name));
    return items.some(({ withheld }) => withheld.length > 0) ? none : whole;
  }
  const entries = Object.entries(value).map(([key, item]) => [key, sharable(item, schemas.flatMap((schema) => propertyBranches(schema, key)), name === '' ? key : `${name}.${key}`)] as const);
  return {
    kept: Object.fromEntries(entries.flatMap(([key, { kept }]) => (kept === undefined ? [] : [[key, kept] as const]))),
    withheld: entries.flatMap(([, { withheld }]) => withheld),
  };
}

/** A schema and all that it may stand for: the branches of unions and intersections, flattened. */
function branchesOf(schema: unknown): readonly SchemaNode[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const own = schema as SchemaNode;
  const inner = ['anyOf', 'oneOf', 'allOf'].flatMap((keyword) => (Array.isArray(own[keyword]) ? own[keyword] : []) as readonly unknown[]);
  return inner.length === 0 ? [own] : [...inner.flatMap(branchesOf), ...(own.properties === undefined ? [] : [own])];
}

function propertyBranches(schema: SchemaNode, key: string): readonly SchemaNode[] {
  const own = schema.properties !== undefined && Object.hasOwn(schema.properties, key) ? schema.properties[key] : undefined;
  if (own !== undefined) return branchesOf(own);
  const patterns = Object.entries((schema['patternProperties'] ?? {}) as Readonly<Record<string, unknown>>);
  const matching = patterns.filter(([pattern]) => new RegExp(pattern, 'u').test(key)).flatMap(([, value]) => branchesOf(value));
  return matching.length > 0 ? matching : branchesOf(schema['additionalProperties']);
}

function itemBranches(schema: SchemaNode, index: number): readonly SchemaNode[] {
  return branchesOf(Array.isArray(schema.items) ? (schema.items[index] as unknown) : schema.items);
}
