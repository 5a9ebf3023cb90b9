import { basename } from 'node:path';
import { GraftError } from '../kernel/errors.ts';
import type { ReadMeter } from './bytes.ts';
import { readCsv } from './csv.ts';
import { readJson } from './json.ts';
import { readParquet } from './parquet.ts';
import type { BadRow, Row } from './row.ts';

type Reader = (file: string, meter?: ReadMeter) => AsyncIterable<Row | BadRow>;

const extensionToReader: Readonly<Record<string, Reader>> = {
  json: readJson,
  jsonl: readJson,
  ndjson: readJson,
  csv: readCsv,
  tsv: readCsv,
  parquet: readParquet,
};

/** `jsonl` for `a.jsonl` and `a.jsonl.gz`. */
export function dataExtension(file: string): string {
  return /\.([^.]+?)(?:\.gz)?$/.exec(basename(file).toLowerCase())?.[1] ?? '';
}

/**
 * Reads the rows of a table by its file's extension: .json, .jsonl, .ndjson, .csv, .tsv (each also .gz) and .parquet.
 * A row that cannot be read comes as a `BadRow`; the reading goes on after it where that is possible.
 * @throws GraftError `DATA_FORMAT` for another extension, `DATA_FILE` when the file cannot be read at all
 */
export async function* readRows(file: string, meter?: ReadMeter): AsyncGenerator<Row | BadRow> {
  const reader = extensionToReader[dataExtension(file)];
  if (reader === undefined || file.endsWith('.parquet.gz')) {
    throw new GraftError('DATA_FORMAT', `${file}: what format this file has cannot be told from its name.`, { hint: `Known are ${Object.keys(extensionToReader).map((extension) => `.${extension}`).join(', ')}, and all but .parquet with .gz.` });
  }
  yield* reader(file, meter);
}
