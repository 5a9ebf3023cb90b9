import { fileBytes, type ReadMeter } from './bytes.ts';
import type { BadRow, Row } from './row.ts';

/** A tokenizer takes a document in one go, some seconds a megabyte; the event loop waits for it. */
const MAX_DOCUMENT_CHARACTERS = 1 << 24;

/**
 * Reads a plain text file as documents: rows with the field `text`. Line ends are LF whatever the file has, a byte order
 * mark is dropped, and so are documents of white space alone. `line` is the line that a document begins on.
 * @param between what stands between documents; the whole file is one document when it is undefined
 */
export async function* readDocuments(file: string, between: string | undefined, meter?: ReadMeter): AsyncGenerator<Row | BadRow> {
  const separator = between?.replaceAll('\r\n', '\n');
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let held = '';
  /** Line that `held` begins on. */
  let line = 1;
  /** Takes a document, and the separator after it, off the text held. */
  const take = (length: number, after: number): Row | undefined => {
    const text = held.slice(0, length);
    const row = text.trim() === '' ? undefined : { file, line: line + leadingLines(text), value: { text } };
    line += countLines(held.slice(0, length + after));
    held = held.slice(length + after);
    return row;
  };
  const decode = (bytes?: Uint8Array): string | undefined => {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined });
    } catch {
      return undefined;
    }
  };

  for await (const bytes of fileBytes(file, meter)) {
    const text = decode(bytes);
    if (text === undefined) return void (yield { file, line: line + countLines(held), problem: 'the text from about here on is not valid UTF-8; convert the file to UTF-8' });
    // A CR at the end may belong to an LF that is yet to come; it is looked at again then.
    const from = Math.max(0, held.length - (separator?.length ?? 1));
    held += text;
    held = held.slice(0, from) + held.slice(from).replaceAll('\r\n', '\n');
    if (separator !== undefined) {
      for (let at = held.indexOf(separator, Math.max(0, from - separator.length)); at !== -1; at = held.indexOf(separator)) {
        const document = take(at, separator.length);
        if (document !== undefined) yield document;
      }
    }
    if (held.length > MAX_DOCUMENT_CHARACTERS) return void (yield { file, line, problem: `a document is longer than ${MAX_DOCUMENT_CHARACTERS >> 20} million characters; set separator to what stands between documents` });
  }
  const rest = decode();
  if (rest === undefined) return void (yield { file, line: line + countLines(held), problem: 'the file ends within a UTF-8 character; it is probably cut off' });
  const document = take(held.length, 0);
  if (document !== undefined) yield document;
}

function countLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

/** Empty lines that a text begins with. */
function leadingLines(text: string): number {
  return countLines(/^\s*/.exec(text)![0]);
}
