type JsonSchema = Readonly<Record<string, unknown>>;

const TYPE_TO_NAME: Readonly<Record<string, readonly [singular: string, plural: string]>> = {
  string: ['a string', 'strings'],
  integer: ['an integer', 'integers'],
  number: ['a number', 'numbers'],
  boolean: ['`true` or `false`', 'booleans'],
  array: ['a list', 'lists'],
  object: ['a mapping', 'mappings'],
  null: ['empty', 'empty values'],
};

/** What a schema accepts, as the end of "must be ...", and the words among it that could be misspelt. */
export function expected(schema: JsonSchema): { readonly text: string; readonly words: readonly string[] } {
  const branches = flatten(schema);
  const constants = branches.flatMap((branch): readonly unknown[] => {
    if ('const' in branch) return [branch['const']];
    return branch['type'] === 'boolean' ? [true, false] : ((branch['enum'] ?? []) as readonly unknown[]);
  });
  const kinds = branches.filter((branch) => !('const' in branch) && !('enum' in branch) && branch['type'] !== 'boolean').map((branch) => nameOf(branch, 0));
  const named = constants.map((constant) => `\`${String(constant)}\``);
  const choices = [...(named.length > 2 && kinds.length === 0 ? [`one of ${named.join(', ')}`] : named), ...new Set(kinds)];
  const text = choices.length < 2 ? choices.join('') : `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;
  return { text: text === '' ? 'something else' : text, words: constants.filter((constant) => typeof constant === 'string') };
}

/** A value as part of a sentence: short, and as it would be written in YAML. */
export function notation(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value !== 'string') return String(value);
  if (value === '') return 'an empty string';
  return `\`${value.length > 60 ? `${value.slice(0, 57)}...` : value}\``;
}

function flatten(schema: JsonSchema): readonly JsonSchema[] {
  const inner = (schema['anyOf'] ?? schema['oneOf']) as readonly JsonSchema[] | undefined;
  if (inner !== undefined) return inner.flatMap(flatten);
  return Array.isArray(schema['type']) ? schema['type'].map((type: unknown) => ({ ...schema, type })) : [schema];
}

function nameOf(schema: JsonSchema, plural: 0 | 1): string {
  const names = TYPE_TO_NAME[String(schema['type'])];
  if (names === undefined) return plural === 1 ? 'values' : 'something else';
  const items = schema['items'];
  if (schema['type'] !== 'array' || typeof items !== 'object' || items === null || Array.isArray(items)) return names[plural];
  if (!['type', 'const', 'enum', 'anyOf', 'oneOf'].some((keyword) => keyword in items)) return names[plural];
  const kinds = [...new Set(flatten(items as JsonSchema).map((branch) => ('const' in branch || 'enum' in branch ? 'strings' : nameOf(branch, 1))))];
  return `${names[plural]} of ${kinds.join(' or ')}`;
}
