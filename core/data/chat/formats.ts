import { GraftError } from '../../kernel/errors.ts';
import { RowProblem, type Row } from '../row.ts';

/** Options that name the fields of a format, and who speaks in them. */
export interface ColumnOptions {
  readonly format: string;
  readonly columns?: Readonly<Record<string, string | undefined>>;
  readonly roles?: object;
}

/**
 * Refuses names for fields that a format does not have: they would rename nothing.
 * @param formatToColumns what of `columns` each format has; one without `role` names nobody
 * @throws GraftError `OPTIONS_CONFLICT`
 */
export function assertColumnsUsed({ format, columns = {}, roles }: ColumnOptions, formatToColumns: Readonly<Record<string, readonly string[]>>): void {
  const known = formatToColumns[format];
  if (known === undefined) return;
  const unused = Object.keys(columns).find((name) => !known.includes(name));
  const hint = `Fields of ${format} are ${known.join(', ')}.`;
  if (unused !== undefined) throw new GraftError('OPTIONS_CONFLICT', `columns.${unused} has no effect: a row of the format ${format} has no such field.`, { option: ['columns', unused], hint });
  if (roles !== undefined && !known.includes('role')) throw new GraftError('OPTIONS_CONFLICT', `roles has no effect: in the format ${format} nobody is named.`, { option: ['roles'], hint });
}

/**
 * Tells the format of rows: the one that is named, or of each file the one of its first row whose fields tell it.
 * @param detect sees a format from the names of the fields; undefined where they do not tell
 * @param known a list of what the fields of each format are called, for the message
 * @returns throws RowProblem for a row whose format cannot be told
 */
export function formatTeller<Format extends string>(
  named: Format | 'auto',
  detect: (value: Row['value']) => Format | undefined,
  known: string,
): (row: Row) => Format {
  const fileToFormat = new Map<string, Format>();
  return (row) => {
    const format = named === 'auto' ? (fileToFormat.get(row.file) ?? detect(row.value)) : named;
    if (format === undefined) {
      const names = Object.keys(row.value).map((name) => `"${name}"`).join(', ');
      throw new RowProblem(`its format cannot be told from its fields (${names || 'there are none'}); known are ${known}; rename others with columns`);
    }
    fileToFormat.set(row.file, format);
    return format;
  };
}
