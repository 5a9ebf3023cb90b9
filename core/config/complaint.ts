import type { ErrorObject } from 'ajv';
import { formatPath } from './dotted.ts';
import type { NodePath } from './node.ts';
import { listed, nearest } from './suggest.ts';
import { expected, notation } from './wording.ts';

/** A violation in words, and the place that it is about. */
export interface Complaint {
  readonly path: NodePath;
  /** Whether the mistake is the key that leads there or the value. */
  readonly at: 'key' | 'value';
  readonly code: string;
  readonly message: string;
  readonly suggestion?: string;
}

/** How the owner of a schema is called in sentences. */
export interface Owner {
  /** `the inject plugin \`lora\``, `a config`. */
  readonly name: string;
  /** What its keys are called: `option`, `key`. */
  readonly noun: string;
}

interface Violation {
  readonly error: ErrorObject;
  readonly path: NodePath;
}

type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * Turns ajv's violations into sentences. The many violations of a union, one for each branch, become one.
 * @param value what was checked, defaults filled in
 */
export function complaintsOf(errors: readonly ErrorObject[], value: unknown, owner: Owner): readonly Complaint[] {
  // Why a key is not allowed comes twice: as the rule that it breaks, and as `propertyNames`, which has the key's place.
  const told = errors.filter((error) => error.propertyName === undefined);
  const all = told.map((error) => ({ error, path: pathOf(error.instancePath, value) }));
  return condense(all).flatMap(({ error, path }) => complain(error, path, owner) ?? []);
}

/** A complaint as one string, where there is no place to show it at. */
export function complaintText({ message, suggestion }: Complaint): string {
  return suggestion === undefined ? message : `${message} Did you mean \`${suggestion}\`?`;
}

/** ajv's `/inject/0/r` as keys and indices. */
function pathOf(pointer: string, value: unknown): NodePath {
  let at = value;
  return pointer
    .split('/')
    .slice(1)
    .map((escaped) => {
      const key = escaped.replace(/~1/g, '/').replace(/~0/g, '~');
      const step = Array.isArray(at) ? Number(key) : key;
      at = typeof at === 'object' && at !== null ? (at as Readonly<Record<string, unknown>>)[key] : undefined;
      return step;
    });
}

/** Leaves, for each union, either the violations of the one branch that was meant or the union's own. */
function condense(violations: readonly Violation[]): readonly Violation[] {
  const unions = violations.filter(({ error }) => error.keyword === 'anyOf' || error.keyword === 'oneOf');
  const outermost = unions.reduce<Violation | undefined>((first, each) => (first === undefined || each.error.schemaPath.length < first.error.schemaPath.length ? each : first), undefined);
  if (outermost === undefined) return violations;
  const { schemaPath, instancePath, data } = outermost.error;
  const inside = violations.filter(({ error }) => error.schemaPath.startsWith(`${schemaPath}/`) && (error.instancePath === instancePath || error.instancePath.startsWith(`${instancePath}/`)));
  const others = violations.filter((each) => each !== outermost && !inside.includes(each));
  const meant = branchMeant(outermost.error.schema as readonly JsonSchema[], data);
  const branch = inside.filter(({ error }) => error.schemaPath.startsWith(`${schemaPath}/${meant}/`));
  const kept = meant === undefined || branch.length === 0 ? [{ ...outermost, error: { ...outermost.error, keyword: 'union' } }] : condense(branch);
  return [...kept, ...condense(others)];
}

/** The only branch of the value's own kind; among mappings, the one whose constant properties agree. */
function branchMeant(branches: readonly JsonSchema[], data: unknown): number | undefined {
  const isWord = (branch: JsonSchema): boolean => 'const' in branch || 'enum' in branch;
  // Any text may be one of the words, misspelt.
  if (typeof data === 'string' && branches.some(isWord)) return undefined;
  const kind = Array.isArray(data) ? 'array' : typeof data;
  const kindOf = (branch: JsonSchema): unknown => (branch['type'] === 'integer' ? 'number' : branch['type']);
  const sameKind = branches.flatMap((branch, index) => (!isWord(branch) && kindOf(branch) === kind ? [{ branch, index }] : []));
  if (sameKind.length < 2) return sameKind[0]?.index;
  const agreeing = sameKind.filter(({ branch }) => {
    const constants = Object.entries(propertiesOf(branch)).filter(([, property]) => 'const' in property);
    return constants.length > 0 && constants.every(([key, property]) => (data as Readonly<Record<string, unknown>>)[key] === property['const']);
  });
  return agreeing.length === 1 ? agreeing[0]?.index : undefined;
}

/** Keyword -> how its limit is said of a number. */
const LIMITS: Readonly<Record<string, string>> = { minimum: 'at least', exclusiveMinimum: 'more than', maximum: 'at most', exclusiveMaximum: 'less than', multipleOf: 'a multiple of' };
/** Keyword -> how its limit is said of what a value has. */
const COUNTS: Readonly<Record<string, readonly [bound: string, noun: string]>> = {
  minLength: ['at least', 'character'],
  maxLength: ['at most', 'character'],
  minItems: ['at least', 'item'],
  maxItems: ['at most', 'item'],
  additionalItems: ['at most', 'item'],
  minProperties: ['at least', 'key'],
  maxProperties: ['at most', 'key'],
};

function complain(error: ErrorObject, path: NodePath, owner: Owner): Complaint | undefined {
  const params = error.params as Readonly<Record<string, unknown>>;
  const schema = error.parentSchema as JsonSchema;
  const name = path.length === 0 ? owner.name : `\`${formatPath(path)}\``;
  const complaint = (code: string, message: string): Complaint => ({ path, at: 'value', code, message });
  const limit = params['limit'] ?? params['multipleOf'];
  const said = LIMITS[error.keyword];
  if (said !== undefined) return complaint('OUT_OF_RANGE', `${name} must be ${said} ${limit}, not ${notation(error.data)}.`);
  const count = COUNTS[error.keyword];
  if (count?.[1] === 'character' && limit === 1) return complaint('OUT_OF_RANGE', `${name} must not be empty.`);
  if (count !== undefined) return complaint('OUT_OF_RANGE', `${name} must have ${count[0]} ${limit} ${count[1]}${limit === 1 ? '' : 's'}.`);
  switch (error.keyword) {
    case 'additionalProperties':
    case 'unevaluatedProperties':
      return unknownKey(String(params['additionalProperty'] ?? params['unevaluatedProperty']), path, schema, owner);
    case 'required':
      return missingKey(String(params['missingProperty']), path, schema, owner);
    case 'type':
    case 'enum':
    case 'const':
    case 'union':
      return wrongValue(name, path, schema, error.data);
    case 'uniqueItems':
      return complaint('REPEATED_ITEM', `${name} lists the same value twice, at ${[params['i'], params['j']].sort().join(' and ')}.`);
    case 'pattern':
      return complaint('WRONG_FORMAT', `${name} must match \`${params['pattern']}\`, and ${notation(error.data)} does not.${described(schema)}`);
    case 'format':
      return complaint('WRONG_FORMAT', `${name} must be a valid ${params['format']}, and ${notation(error.data)} is not.`);
    case 'propertyNames':
      return { path: [...path, String(params['propertyName'])], at: 'key', code: 'WRONG_FORMAT', message: `\`${params['propertyName']}\` cannot be a key of ${name}.` };
    case 'if':
      return undefined;
    default:
      return complaint('INVALID', `${name} ${error.message ?? 'is not valid'}.`);
  }
}

function unknownKey(key: string, path: NodePath, schema: JsonSchema, owner: Owner): Complaint {
  const known = keysOf(schema);
  const of = path.length === 0 ? owner.name : `\`${formatPath(path)}\``;
  const suggestion = nearest(key, known);
  const kinds = known.length === 0 ? ' It has none.' : ` It has ${listed(known)}.`;
  const message = `\`${key}\` is not ${/^[aeiou]/.test(owner.noun) ? 'an' : 'a'} ${owner.noun} of ${of}.${suggestion === undefined ? kinds : ''}`;
  return { path: [...path, key], at: 'key', code: 'UNKNOWN_KEY', message, ...(suggestion === undefined ? {} : { suggestion }) };
}

function missingKey(key: string, path: NodePath, schema: JsonSchema, owner: Owner): Complaint {
  const subject = path.length === 0 ? `${owner.name[0]?.toUpperCase()}${owner.name.slice(1)}` : `\`${formatPath(path)}\``;
  const property = propertiesOf(schema)[key] ?? {};
  return { path, at: 'key', code: 'MISSING_KEY', message: `${subject} needs the ${owner.noun} \`${key}\`${explained(property)}` };
}

function wrongValue(name: string, path: NodePath, schema: JsonSchema, data: unknown): Complaint {
  const forms = formsOf(schema, data);
  if (forms !== undefined) return { path, at: 'value', code: 'WRONG_TYPE', message: `${name} must be a mapping, and this one fits none of the forms that it may have${forms}.` };
  const { text, words } = expected(schema);
  if (typeof data === 'number' && !Number.isFinite(data)) return { path, at: 'value', code: 'WRONG_TYPE', message: `${name} must be a finite number, not ${data}.` };
  const suggestion = typeof data === 'string' ? nearest(data, words) : undefined;
  const message = `${name} must be ${text}, not ${notation(data)}.${suggestion === undefined ? yamlHint(schema, data) : ''}`;
  return { path, at: 'value', code: 'WRONG_TYPE', message, ...(suggestion === undefined ? {} : { suggestion }) };
}

/** What tells the mappings of a union apart, where the value is a mapping: `: \`kind: a\` or \`kind: b\``. */
function formsOf(schema: JsonSchema, data: unknown): string | undefined {
  const branches = ((schema['anyOf'] ?? schema['oneOf'] ?? []) as readonly JsonSchema[]).filter((branch) => branch['type'] === 'object');
  if (branches.length < 2 || typeof data !== 'object' || data === null || Array.isArray(data)) return undefined;
  const constants = branches.flatMap((branch) =>
    Object.entries(propertiesOf(branch)).flatMap(([key, property]) => ('const' in property ? [`${key}: ${String(property['const'])}`] : [])),
  );
  return constants.length === 0 ? '' : `: ${listed(constants, 'or')}`;
}

/** What a person who knows YAML 1.1, or another program's numbers, needs to be told. */
function yamlHint(schema: JsonSchema, data: unknown): string {
  if (data === null) return ' Nothing is written here.';
  if (schema['type'] === 'array') return ' Begin each item with `- `.';
  if (typeof data !== 'string') return '';
  const types = [schema, ...((schema['anyOf'] ?? []) as readonly JsonSchema[])].map((each) => each['type']);
  const truth = /^(?:(y|yes|on|true)|n|no|off|false)$/i.exec(data);
  if (types.includes('boolean') && truth !== null) return ` YAML 1.2 reads \`${data}\` as a string here; write \`${truth[1] !== undefined}\`.`;
  const digits = data.trim().replace(/(?<=\d)[_,'](?=\d{3}(?!\d))/g, '');
  const numeric = types.includes('integer') || types.includes('number');
  if (!numeric || digits === '' || !Number.isFinite(Number(digits))) return '';
  return digits === data ? ` In quotes it is a string; write ${data} without them.` : ` Write ${digits}.`;
}

function keysOf(schema: JsonSchema): readonly string[] {
  const own = Object.keys(propertiesOf(schema));
  const inner = ['allOf', 'anyOf', 'oneOf'].flatMap((keyword) => ((schema[keyword] ?? []) as readonly JsonSchema[]).flatMap(keysOf));
  return [...new Set([...own, ...inner])];
}

function propertiesOf(schema: JsonSchema): Readonly<Record<string, JsonSchema>> {
  return (schema['properties'] ?? {}) as Readonly<Record<string, JsonSchema>>;
}

/** `: what it is.`, or just the end of the sentence. */
function explained(schema: JsonSchema): string {
  const description = described(schema).trim();
  return description === '' ? '.' : `: ${description}${description.endsWith('.') ? '' : '.'}`;
}

function described(schema: JsonSchema): string {
  const description = schema['description'];
  return typeof description === 'string' && description !== '' ? ` ${description}` : '';
}
