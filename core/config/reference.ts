import type { TSchema } from 'typebox';
import { GraftError } from '../kernel/errors.ts';
import { STAGES } from './entry.ts';
import type { SchemaSource } from './entry.ts';
import { runSchema } from './schema.ts';
import { expected } from './wording.ts';

type JsonSchema = Readonly<Record<string, unknown>>;

interface Row {
  readonly option: string;
  readonly type: string;
  readonly fallback: string;
  readonly description: string;
}

/**
 * The reference of everything that a config may say, as Markdown: the config's own keys, then the options of each plugin,
 * stage by stage, then whatever else there is. It follows from the schemas alone, so a test can hold the README against it.
 */
export function configReference(schemas: Pick<SchemaSource, 'schema' | 'names'>, others: readonly { readonly title: string; readonly schema: TSchema }[] = []): string {
  const plugins = STAGES.flatMap((stage) =>
    [...schemas.names(stage)].sort().flatMap((name) => {
      const schema = schemas.schema(stage, name);
      return schema === undefined ? [] : [`### ${stage}: ${name}\n\n${table(schema)}`];
    }),
  );
  return [`### The config\n\n${table(runSchema)}`, ...plugins, ...others.map(({ title, schema }) => `### ${title}\n\n${table(schema)}`)].join('\n');
}

const BEGIN = '<!-- config reference: written by `graft validate --reference README.md` -->';
const END = '<!-- end of config reference -->';

/**
 * Puts the reference between its two marks in a Markdown text, in place of what is there.
 * @throws GraftError `REFERENCE_MARKS` when the marks are not there
 */
export function withReference(markdown: string, reference: string): string {
  const [begin, end] = [markdown.indexOf(BEGIN), markdown.indexOf(END)];
  if (begin === -1 || end < begin) throw new GraftError('REFERENCE_MARKS', `The text has no place for the reference: it must hold the lines ${BEGIN} and ${END}.`);
  return `${markdown.slice(0, begin + BEGIN.length)}\n\n${reference}\n${markdown.slice(end)}`;
}

function table(schema: TSchema): string {
  const rows = rowsOf(schema as JsonSchema, '');
  if (rows.length === 0) return 'No options.\n';
  const cells = rows.map((row) => `| ${[row.option, row.type, row.fallback, row.description].join(' | ')} |`);
  return ['| option | type | default | what it does |', '|---|---|---|---|', ...cells, ''].join('\n');
}

/** A row for each option, those of nested mappings included: `optimizer.beta1`. */
function rowsOf(schema: JsonSchema, prefix: string): readonly Row[] {
  const inherited = ((schema['allOf'] ?? []) as readonly JsonSchema[]).flatMap((part) => rowsOf(part, prefix));
  const required = (schema['required'] ?? []) as readonly string[];
  const own = Object.entries((schema['properties'] ?? {}) as Readonly<Record<string, JsonSchema>>).flatMap(([key, option]) => {
    const path = `${prefix}${key}`;
    const row = {
      option: `\`${path}\``,
      type: cell(typeOf(option)),
      fallback: 'default' in option ? cell(`\`${JSON.stringify(option['default'])}\``) : required.includes(key) ? '**required**' : '',
      description: cell(String(option['description'] ?? '')),
    };
    const nested = rowsOf(option, `${path}.`);
    return nested.length > 0 && option['description'] === undefined ? nested : [row, ...nested];
  });
  return [...inherited, ...own];
}

/** What an option accepts: `an integer, at least 1`. */
function typeOf(schema: JsonSchema): string {
  const bounds = [
    schema['minimum'] === undefined ? [] : [`at least ${String(schema['minimum'])}`],
    schema['exclusiveMinimum'] === undefined ? [] : [`more than ${String(schema['exclusiveMinimum'])}`],
    schema['maximum'] === undefined ? [] : [`at most ${String(schema['maximum'])}`],
    schema['exclusiveMaximum'] === undefined ? [] : [`less than ${String(schema['exclusiveMaximum'])}`],
  ].flat();
  const { text } = expected(schema);
  const kind = text === 'something else' ? 'an entry' : text;
  return [kind, ...bounds].join(', ');
}

function cell(text: string): string {
  return text.replace(/\|/g, '\\|').replace(/\s+/g, ' ');
}
