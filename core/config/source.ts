import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { LineCounter } from 'yaml';
import { GraftError } from '../kernel/errors.ts';

/** A run's config is a few kilobytes; a file beyond this is a mistake or an attack, and would take seconds to parse. */
export const MAX_BYTES = 1024 * 1024;

/** A text that config values were written in: a file, or the argument of one `--set`. */
export interface Source {
  /** Absolute path, or `--set`. */
  readonly file: string;
  readonly text: string;
  readonly lines: LineCounter;
  /** Absolute folder that relative paths written in it are relative to. */
  readonly dir: string;
}

/** A piece of a source: characters `start` up to, not including, `end`. */
export interface Span {
  readonly source: Source;
  readonly start: number;
  readonly end: number;
}

/** A place as editors count it: the first character of a file is 1:1. */
export interface SourceLocation {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export function sourceOf(file: string, text: string, dir: string): Source {
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lines.addNewLine(at + 1);
  return { file, text, lines, dir };
}

export function locationOf(span: Span): SourceLocation {
  const { line, col } = span.source.lines.linePos(span.start);
  return { file: span.source.file, line, column: col };
}

/**
 * Reads a config file as UTF-8; a byte order mark is dropped.
 * @throws GraftError `CONFIG_NOT_FOUND`, `CONFIG_NOT_A_FILE`, `CONFIG_TOO_LARGE`, `CONFIG_NOT_UTF8`, `CONFIG_UNREADABLE`
 */
export async function readSource(path: string): Promise<Source> {
  const file = resolve(path);
  const bytes = await readWithin(file);
  try {
    return sourceOf(file, new TextDecoder('utf-8', { fatal: true }).decode(bytes), dirname(file));
  } catch {
    const utf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
    throw new GraftError('CONFIG_NOT_UTF8', `${file} is not UTF-8 text${utf16 ? ' but UTF-16' : ''}.`, { hint: 'Save it as UTF-8.' });
  }
}

async function readWithin(file: string): Promise<Uint8Array> {
  try {
    const found = await stat(file);
    if (!found.isFile()) {
      throw new GraftError('CONFIG_NOT_A_FILE', `${file} is ${found.isDirectory() ? 'a folder' : 'not a regular file'}; a config is a YAML file.`);
    }
    if (found.size > MAX_BYTES) {
      const megabytes = (found.size / MAX_BYTES).toFixed(1);
      throw new GraftError('CONFIG_TOO_LARGE', `${file} is ${megabytes} MiB; a config may be at most 1 MiB.`, { hint: 'Keep data in data files and name them here.' });
    }
    return await readFile(file);
  } catch (error) {
    if (GraftError.is(error)) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new GraftError('CONFIG_NOT_FOUND', `There is no file ${file}.`);
    throw new GraftError('CONFIG_UNREADABLE', `${file} cannot be read (${code ?? String(error)}).`, { cause: error });
  }
}
