import type { Source, Span } from './source.ts';

const WIDTH = 100;

/** Control characters would reach the terminal; tabs would put the caret elsewhere. Same length, so columns stay true. */
function printable(text: string): string {
  return text.replace(/\t/g, ' ').replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '?');
}

/**
 * The line that a span begins on with a caret under it, and its neighbours:
 *
 *       1 | load: llama
 *     > 2 | sed: 42
 *         | ^^^
 *       3 | name: x
 *
 * Of a line too long to show, the part around the span.
 */
export function codeFrame(span: Span): string {
  const { line, col } = span.source.lines.linePos(span.start);
  const count = span.source.lines.lineStarts.length;
  const last = Math.min(count, line + 1);
  const gutter = String(last).length;
  const from = col <= WIDTH - 10 ? 0 : col - Math.floor(WIDTH / 2);
  const rows: string[] = [];
  for (let number = Math.max(1, line - 1); number <= last; number++) {
    const full = lineOf(span.source, number);
    if (number === count && full === '' && number !== line) continue;
    const shown = printable(full.slice(from, from + WIDTH));
    const row = `${from > 0 ? '...' : ''}${shown}${full.length > from + WIDTH ? '...' : ''}`;
    rows.push(`${number === line ? '>' : ' '} ${String(number).padStart(gutter)} | ${row}`.trimEnd());
    if (number !== line) continue;
    const lead = col - 1 - from + (from > 0 ? 3 : 0);
    const room = Math.min(full.length, from + WIDTH) - (col - 1);
    const length = Math.max(1, Math.min(span.end - span.start, room));
    rows.push(`  ${' '.repeat(gutter)} | ${' '.repeat(lead)}${'^'.repeat(length)}`);
  }
  return rows.join('\n');
}

/** @param number from 1 */
function lineOf(source: Source, number: number): string {
  const { lineStarts } = source.lines;
  return source.text.slice(lineStarts[number - 1], lineStarts[number]).replace(/\r?\n$/, '');
}
