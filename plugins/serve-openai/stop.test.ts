import { describe, expect, it } from 'vitest';
import { StopScanner } from './stop.ts';

/** All that comes out for the pieces given, and whether it stopped. */
function scan(stops: readonly string[], pieces: readonly string[]): { text: string; stopped: boolean } {
  const scanner = new StopScanner(stops);
  let text = '';
  for (const piece of pieces) {
    const result = scanner.push(piece);
    text += result.text;
    if (result.stopped) return { text, stopped: true };
  }
  return { text: text + scanner.flush(), stopped: false };
}

describe('StopScanner', () => {
  it('cuts before a stop string inside one piece', () => {
    expect(scan(['###'], ['one ### two'])).toEqual({ text: 'one ', stopped: true });
  });

  it('finds a stop string that spans pieces, at every way to split it', () => {
    const text = 'abcSTOPdef';
    for (let i = 1; i < text.length; i++) {
      for (let j = i; j < text.length; j++) {
        expect(scan(['STOP'], [text.slice(0, i), text.slice(i, j), text.slice(j)])).toEqual({ text: 'abc', stopped: true });
      }
    }
  });

  it('gives out what only looked like the beginning of a stop string', () => {
    expect(scan(['STOP'], ['a ST', 'ART'])).toEqual({ text: 'a START', stopped: false });
    expect(scan(['STOP'], ['a ST'])).toEqual({ text: 'a ST', stopped: false });
  });

  it('holds back no more than could be a beginning', () => {
    const scanner = new StopScanner(['aab']);
    expect(scanner.push('xaaa')).toEqual({ text: 'xa', stopped: false });
    expect(scanner.push('b')).toEqual({ text: '', stopped: true });
  });

  it('takes the earliest of several stop strings', () => {
    expect(scan(['two', 'one'], ['zero one two'])).toEqual({ text: 'zero ', stopped: true });
  });

  it('lets everything through without stop strings', () => {
    expect(scan([], ['a', 'b'])).toEqual({ text: 'ab', stopped: false });
  });
});
