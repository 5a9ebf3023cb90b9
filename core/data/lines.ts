/** One line of a text file, or why it is not text. */
export interface TextLine {
  /** 1-based. */
  readonly number: number;
  /** Without its line end (LF or CRLF). */
  readonly text?: string;
  readonly problem?: string;
}

const NEWLINE = 10;
const RETURN = 13;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes bytes strictly: a file in another encoding is said to be, never read as something else. */
export function utf8(pieces: readonly Uint8Array[]): { readonly text: string } | { readonly problem: string } {
  const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) return { problem: 'the file is UTF-16; convert it to UTF-8' };
  try {
    return { text: decoder.decode(bytes) };
  } catch {
    return { problem: 'the text is not valid UTF-8; convert the file to UTF-8' };
  }
}

/**
 * Splits bytes into lines, without a byte order mark and line ends. A line longer than `maxBytes` ends the reading with
 * its problem.
 */
export async function* textLines(chunks: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<TextLine> {
  let number = 1;
  let pieces: Uint8Array[] = [];
  let size = 0;
  const take = (): TextLine => {
    const decoded = utf8(pieces);
    pieces = [];
    size = 0;
    if ('problem' in decoded) return { number: number++, problem: decoded.problem };
    const text = number === 1 && decoded.text.startsWith('\ufeff') ? decoded.text.slice(1) : decoded.text;
    return { number: number++, text: text.charCodeAt(text.length - 1) === RETURN ? text.slice(0, -1) : text };
  };
  for await (const chunk of chunks) {
    let begin = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, begin)) {
      pieces.push(chunk.subarray(begin, end));
      begin = end + 1;
      yield take();
    }
    if (begin === chunk.length) continue;
    pieces.push(chunk.slice(begin));
    size += chunk.length - begin;
    if (size > maxBytes) return void (yield { number, problem: `the line is longer than ${maxBytes >> 20} MB` });
  }
  if (pieces.length > 0) yield take();
}

