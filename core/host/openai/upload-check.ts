/** Whether an uploaded file can be trained on, and is no program in disguise. */
import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { GraftError } from '../../kernel/errors.ts';
import { depthOf } from '../json-depth.ts';
import type { Received } from './file-store.ts';

export interface LineLimits {
  readonly lineBytes: number;
  readonly rows: number;
  /** Lists and objects within each other. */
  readonly depth: number;
}

const PICKLED_NAME = /\.(pkl|pickle|pt|pth|bin|ckpt|joblib)$/i;
const NEWLINE = 0x0a;

/**
 * Refuses Python pickles, which run code when they are opened.
 * @throws GraftError `FILE_REFUSED`
 */
export function refusePickle(filename: string, { head }: Pick<Received, 'head'>): void {
  const magic = head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5;
  const zip = head.subarray(0, 4).toString('latin1') === 'PK\x03\x04';
  if (!PICKLED_NAME.test(filename) && !magic && !zip) return;
  throw new GraftError('FILE_REFUSED', `${filename} looks like a Python pickle or an archive, which may run code when it is opened.`, { hint: 'Send weights as safetensors, and data as JSON lines.' });
}

/**
 * Reads JSON lines, each an object, without ever holding more than one.
 * @returns their number
 * @throws GraftError `FILE_INVALID` with the line of the first mistake
 */
export async function checkJsonLines(path: string, limits: LineLimits): Promise<number> {
  let [rows, line, rest] = [0, 0, Buffer.alloc(0)];
  const take = (text: Buffer): void => {
    line++;
    if (text.length > limits.lineBytes) throw mistake(line, `it has ${text.length} bytes, and may have ${limits.lineBytes}`);
    if (!isUtf8(text)) throw mistake(line, 'it is not UTF-8');
    const trimmed = text.toString('utf8').trim();
    if (trimmed === '') return;
    if (++rows > limits.rows) throw mistake(line, `there are more than ${limits.rows} rows`);
    if (depthOf(trimmed) > limits.depth) throw mistake(line, `lists and objects stand in each other more than ${limits.depth} deep`);
    let value: unknown;
    try {
      value = JSON.parse(trimmed);
    } catch (error) {
      throw mistake(line, `it is not JSON (${(error as Error).message})`);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw mistake(line, 'it is not a JSON object');
  };
  for await (const piece of createReadStream(path)) {
    let from = 0;
    const chunk = piece as Buffer;
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      take(Buffer.concat([rest, chunk.subarray(from, at)]));
      rest = Buffer.alloc(0);
      from = at + 1;
    }
    rest = Buffer.concat([rest, chunk.subarray(from)]);
    if (rest.length > limits.lineBytes) throw mistake(line + 1, `it has more than ${limits.lineBytes} bytes`);
  }
  if (rest.length > 0) take(rest);
  if (rows === 0) throw new GraftError('FILE_INVALID', 'The file has no rows.', { hint: 'It is to be JSON lines: an object on each line.' });
  return rows;
}

function mistake(line: number, what: string): GraftError {
  return new GraftError('FILE_INVALID', `Line ${line} of the file: ${what}.`);
}
