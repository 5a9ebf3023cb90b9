import { Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { GraftError } from '../kernel/errors.ts';
import { fileBytes, type ReadMeter } from './bytes.ts';
import { utf8 } from './lines.ts';
import type { BadRow, Row } from './row.ts';

/** Bytes of one record at most: a quote that is not closed must not pull a whole file into memory. */
const MAX_RECORD_BYTES = 1 << 26;

/**
 * Reads CSV (RFC 4180) with a header line; `.tsv` separates with tabs. Every value is text. `line` is where the record
 * begins; a quoted value may go over several, with LF between them whatever the file has.
 * @throws GraftError `DATA_FILE` when the header is not one
 */
export async function* readCsv(file: string, meter?: ReadMeter): AsyncGenerator<Row | BadRow> {
  const delimiter = /\.tsv(\.gz)?$/.test(file) ? '\t' : ',';
  const source = Readable.from(withLineFeeds(fileBytes(file, meter)));
  // Values as bytes: csv-parse would put replacement characters where they are not UTF-8.
  const parser = parse({ encoding: null, delimiter, info: true, relax_column_count: true, skip_empty_lines: true, max_record_size: MAX_RECORD_BYTES });
  source.on('error', (error) => parser.destroy(error));
  source.pipe(parser);
  let header: readonly string[] | undefined;
  /** Lines before the record. */
  let before = 0;
  let emptyBefore = 0;
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: Uint8Array[]; info: { lines: number; empty_lines: number } }>) {
      const line = before + 1 + (info.empty_lines - emptyBefore);
      before = info.lines;
      emptyBefore = info.empty_lines;
      const values = textsOf(record);
      if (header === undefined) header = headerOf(file, values);
      else if (typeof values === 'string') yield { file, line, problem: values };
      else if (values.length !== header.length) yield { file, line, problem: `the row has ${values.length} ${values.length === 1 ? 'value' : 'values'} and the header ${header.length} columns` };
      else yield { file, line, value: Object.fromEntries(header.map((name, index) => [name, values[index]])) };
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    // What follows a broken quote cannot be told from what is inside it.
    const reason = error.code === 'CSV_QUOTE_NOT_CLOSED' ? 'a quotation mark that opens in this row is never closed' : error.message.replace(/[.\s]+$/, '');
    yield { file, line: before + 1, problem: `this and what follows is not valid CSV: ${reason}` };
  } finally {
    source.destroy();
  }
}

/** Without a byte order mark, and CRLF as LF: the parser counts a CRLF inside quotes as two lines. */
async function* withLineFeeds(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const [LF, CR] = [10, 13];
  let held = false;
  let first = true;
  for await (const chunk of chunks) {
    const marked = first && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf;
    first = false;
    const bytes: Uint8Array = held ? Buffer.concat([Buffer.of(CR), chunk]) : marked ? chunk.subarray(3) : chunk;
    held = bytes[bytes.length - 1] === CR;
    yield bytes.filter((byte, index) => byte !== CR || (index + 1 < bytes.length && bytes[index + 1] !== LF));
  }
  if (held) yield Buffer.of(CR);
}

/** The values of a record, or why they are no text. */
function textsOf(record: readonly Uint8Array[]): readonly string[] | string {
  const texts: string[] = [];
  for (const bytes of record) {
    const decoded = utf8([bytes]);
    if ('problem' in decoded) return decoded.problem;
    texts.push(decoded.text);
  }
  return texts;
}

function headerOf(file: string, names: readonly string[] | string): readonly string[] {
  if (typeof names === 'string') throw new GraftError('DATA_FILE', `${file}:1: ${names}.`);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new GraftError('DATA_FILE', `${file}:1: the header names the column "${twice}" twice.`, { hint: 'The first line of a CSV file names its columns, each once.' });
  return names;
}
