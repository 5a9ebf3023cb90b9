/** Where a text stops being JSON. */
export interface JsonMistake {
  /** In UTF-16 units from the start of the text. */
  readonly offset: number;
  /** A phrase such as `expected , or } but found "b"`. */
  readonly problem: string;
}

class Mistake extends Error {
  readonly offset: number;
  constructor(offset: number, problem: string) {
    super(problem);
    this.offset = offset;
  }
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;

/**
 * Finds the first mistake in a text that `JSON.parse` refused. JSON.parse's own message names no place for some mistakes,
 * and differs from one version of Node to the next.
 */
export function findJsonMistake(text: string): JsonMistake {
  let at = 0;
  const fail = (expected: string): never => {
    const found = at >= text.length ? 'the text ends' : `found ${JSON.stringify(String.fromCodePoint(text.codePointAt(at)!))}`;
    throw new Mistake(at, `expected ${expected} but ${found}`);
  };
  const skip = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const match = pattern.exec(text)?.[0] ?? '';
    at += match.length;
    return match;
  };

  const string = (): void => {
    at++;
    for (; ; at++) {
      const code = text.charCodeAt(at);
      if (Number.isNaN(code)) throw new Mistake(at, 'a string is not closed');
      if (code === 0x22) break;
      if (code < 0x20) throw new Mistake(at, `a string holds the control character U+${code.toString(16).padStart(4, '0')}; write it as an escape such as \\n`);
      if (code !== 0x5c) continue;
      at++;
      if (text[at] === 'u' && /^[0-9a-fA-F]{4}$/.test(text.slice(at + 1, at + 5))) at += 4;
      else if (at < text.length && !'"\\/bfnrt'.includes(text[at]!)) throw new Mistake(at - 1, `\\${text[at]} is not an escape that JSON knows`);
    }
    at++;
  };

  /** Consumes `open`, items, `close`. */
  const list = (close: string, item: () => void): void => {
    at++;
    skip(SPACE);
    if (text[at] === close) return void at++;
    for (;;) {
      item();
      skip(SPACE);
      if (text[at] === close) return void at++;
      if (text[at] !== ',') fail(`, or ${close}`);
      at++;
      skip(SPACE);
      if (text[at] === close) throw new Mistake(at, `there is a comma before ${close}`);
    }
  };
  const member = (): void => {
    if (text[at] !== '"') fail('a property name in double quotes');
    string();
    skip(SPACE);
    if (text[at] !== ':') fail(':');
    at++;
    value();
  };
  const value = (): void => {
    skip(SPACE);
    const word = ['true', 'false', 'null'].find((each) => text.startsWith(each, at));
    if (text[at] === '{') list('}', member);
    else if (text[at] === '[') list(']', value);
    else if (text[at] === '"') string();
    else if (word !== undefined) at += word.length;
    else if (skip(NUMBER) === '') fail('a value');
  };

  try {
    value();
    skip(SPACE);
    if (at < text.length) fail('the end');
  } catch (error) {
    if (error instanceof Mistake) return { offset: error.offset, problem: error.message };
    // Nesting deeper than the stack.
    if (error instanceof RangeError) return { offset: at, problem: 'values are nested too deeply' };
    throw error;
  }
  return { offset: 0, problem: 'it cannot be parsed' };
}
