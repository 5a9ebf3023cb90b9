import { fileBytes, type ReadMeter } from './bytes.ts';
import { findJsonMistake } from './json-mistake.ts';
import { textLines, utf8, type TextLine } from './lines.ts';
import type { BadRow, Row } from './row.ts';

const [TAB, NEWLINE, RETURN, SPACE, QUOTE, COMMA, OPEN_LIST, BACKSLASH, CLOSE_LIST, OPEN_MAP, CLOSE_MAP] = [9, 10, 13, 32, 34, 44, 91, 92, 93, 123, 125];
/** Bytes of one record at most: a missing bracket must not pull a whole file into memory. */
const MAX_RECORD_BYTES = 1 << 26;

/** A record cut out of a file, not parsed yet. */
interface Piece extends TextLine {
  /** 1-based, where the record begins on its line. */
  readonly column: number;
}

/**
 * Reads JSON: an array of objects, or one object a line. Which of them is seen from the first character, whatever the
 * file is called. Streams: memory holds one record at a time.
 */
export async function* readJson(file: string, meter?: ReadMeter): AsyncGenerator<Row | BadRow> {
  const bytes = fileBytes(file, meter);
  const head: Uint8Array[] = [];
  let first = -1;
  for (;;) {
    const { value, done } = await bytes.next();
    if (done === true) break;
    head.push(value);
    first = value.find((byte, index) => !isSpace(byte) && !(head.length === 1 && index < 3 && isByteOrderMark(byte))) ?? -1;
    if (first !== -1) break;
  }
  const all = (async function* () {
    yield* head;
    yield* bytes;
  })();
  if (first === OPEN_LIST) yield* readArray(file, all);
  else yield* readLines(file, all);
}

async function* readLines(file: string, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Row | BadRow> {
  for await (const line of textLines(bytes, MAX_RECORD_BYTES)) {
    if (line.text !== undefined && line.text.trim() === '') continue;
    const record = recordOf(file, { ...line, column: 1 });
    const cut = 'problem' in record && record.problem.endsWith('the text ends');
    yield cut ? { ...record, problem: `${record.problem} (a file that does not begin with [ has one object a line)` } : record;
  }
}

/** Splits `[{...}, {...}]` into its elements. Structure is all ASCII, so bytes of other characters never look like it. */
async function* readArray(file: string, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Row | BadRow> {
  let line = 1;
  /** Bytes since the line began. */
  let column = 0;
  let state = 'before' as 'before' | 'first' | 'element' | 'next' | 'after';
  let depth = 0;
  let inString = false;
  let escaped = false;
  let start = { line: 1, column: 1 };
  let size = 0;
  let pieces: Uint8Array[] = [];
  const at = (): Pick<BadRow, 'file' | 'line' | 'column'> => ({ file, line, column });

  for await (const chunk of chunks) {
    let begin = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      column++;
      if (byte === NEWLINE) {
        line++;
        column = 0;
      }
      if (state === 'element') {
        if (inString) {
          if (escaped) escaped = false;
          else if (byte === BACKSLASH) escaped = true;
          else if (byte === QUOTE) inString = false;
          continue;
        }
        if (byte === QUOTE) inString = true;
        else if (byte === OPEN_MAP || byte === OPEN_LIST) depth++;
        else if (depth > 0 && (byte === CLOSE_MAP || byte === CLOSE_LIST)) depth--;
        else if (depth === 0 && (byte === COMMA || byte === CLOSE_LIST)) {
          pieces.push(chunk.slice(begin, i));
          yield recordOf(file, { number: start.line, column: start.column, ...utf8(pieces) });
          pieces = [];
          size = 0;
          state = byte === COMMA ? 'next' : 'after';
        }
        continue;
      }
      if (isSpace(byte) || (state === 'before' && isByteOrderMark(byte))) continue;
      if (state === 'before') state = 'first';
      else if (byte === CLOSE_LIST && state === 'first') state = 'after';
      else if (state === 'after') return void (yield { ...at(), problem: 'there is more text after the array' });
      else if (byte === COMMA || byte === CLOSE_LIST) return void (yield { ...at(), problem: byte === COMMA ? 'there is a comma where an object should begin' : 'there is a comma before ]' });
      else {
        state = 'element';
        start = { line, column };
        begin = i;
        depth = byte === OPEN_MAP || byte === OPEN_LIST ? 1 : 0;
        inString = byte === QUOTE;
        escaped = false;
      }
    }
    if (state !== 'element') continue;
    pieces.push(chunk.slice(begin));
    size += chunk.length - begin;
    if (size > MAX_RECORD_BYTES) return void (yield { file, ...start, problem: `an element is longer than ${MAX_RECORD_BYTES >> 20} MB; a bracket or a quote is probably not closed` });
  }
  const end = { file, line, column: column + 1 };
  if (state !== 'element') {
    if (state !== 'after') yield { ...end, problem: 'the array is not closed with ]' };
    return;
  }
  // An element that never ends: what is wrong with it is better said than that the array is not closed.
  const rest = recordOf(file, { number: start.line, column: start.column, ...utf8(pieces) });
  yield 'problem' in rest ? rest : { ...end, problem: 'the array is not closed with ]' };
}

function recordOf(file: string, { number, column, text, problem }: Piece): Row | BadRow {
  if (text === undefined) return { file, line: number, problem: problem! };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const mistake = findJsonMistake(text);
    const before = text.slice(0, mistake.offset).split('\n');
    const place = before.length === 1 ? column + mistake.offset : before.at(-1)!.length + 1;
    return { file, line: number + before.length - 1, column: place, problem: `this is not valid JSON: ${mistake.problem}` };
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { file, line: number, value: value as Record<string, unknown> };
  return { file, line: number, problem: `a row must be an object with named fields, and this is ${kindOf(value)}` };
}

/** What a JSON value is, for messages. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB;
}

/** One of the bytes EF BB BF. */
function isByteOrderMark(byte: number): boolean {
  return byte === 0xef || byte === 0xbb || byte === 0xbf;
}
