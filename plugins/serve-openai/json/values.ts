/** The values of JSON (RFC 8259) as rules of an automaton. Numbers have bounded digits, so that every parser reads them and no model counts for ever. */
import type { Automaton, Rule } from './automaton.ts';

/** Digits of a whole number, and after a point; more than a double or a 64 bit integer holds. */
const DIGITS = 18;
/** Spaces that a line may be indented by. */
const INDENT = 32;
const HEX = '0123456789abcdefABCDEF';

/** Continuation bytes that a leading byte asks for, so that only well-formed UTF-8 is read (Unicode 16, table 3-7): first byte, then ranges. */
const UTF8: readonly (readonly (readonly [number, number])[])[] = [
  [[0xc2, 0xdf], [0x80, 0xbf]],
  [[0xe0, 0xe0], [0xa0, 0xbf], [0x80, 0xbf]],
  [[0xe1, 0xec], [0x80, 0xbf], [0x80, 0xbf]],
  [[0xed, 0xed], [0x80, 0x9f], [0x80, 0xbf]],
  [[0xee, 0xef], [0x80, 0xbf], [0x80, 0xbf]],
  [[0xf0, 0xf0], [0x90, 0xbf], [0x80, 0xbf], [0x80, 0xbf]],
  [[0xf1, 0xf3], [0x80, 0xbf], [0x80, 0xbf], [0x80, 0xbf]],
  [[0xf4, 0xf4], [0x80, 0x8f], [0x80, 0xbf], [0x80, 0xbf]],
];

/** A value's count of items or characters; `most` left out: no limit. */
export interface Bounds {
  readonly least: number;
  readonly most?: number;
}

/** One property of an object, in the order in which they are written. */
export interface Property {
  readonly name: string;
  readonly value: Rule;
  readonly required: boolean;
}

export class Values {
  readonly #to: Automaton;
  /** Nothing, a space, or a new line with its indentation: what is written between a bracket or a comma and a value. */
  readonly #gap: Rule;
  readonly #character: Rule;
  readonly string: Rule;
  readonly integer: Rule;
  readonly number: Rule;
  readonly boolean: Rule;
  readonly null: Rule;
  /** Any value. */
  readonly any: Rule;
  /** An object with any properties. */
  readonly object: Rule;

  constructor(automaton: Automaton) {
    this.#to = automaton;
    this.#gap = automaton.rule((from) => this.#written(from));
    this.#character = automaton.rule((from) => this.#oneCharacter(from, automaton.state()));
    this.string = automaton.rule((from) => this.#text(from));
    this.integer = automaton.rule((from) => this.#whole(from));
    this.number = automaton.rule((from) => this.#decimal(from));
    this.boolean = this.oneOf([true, false]);
    this.null = this.oneOf([null]);
    this.any = automaton.declare();
    this.object = this.map(this.any);
    const array = this.array(this.any, { least: 0 });
    automaton.define(this.any, (from) => this.#union(from, [this.object, array, this.string, this.number, this.boolean, this.null]));
  }

  /** A value of any of these rules. */
  anyOf(rules: readonly Rule[]): Rule {
    return this.#to.rule((from) => this.#union(from, rules));
  }

  /** One of these values, written as `JSON.stringify` does. */
  oneOf(values: readonly unknown[]): Rule {
    return this.#to.rule((from) => {
      const end = this.#to.state();
      for (const value of values) this.#to.text(from, JSON.stringify(value), end);
      return end;
    });
  }

  /** A string of so many characters (code points). */
  stringOf({ least, most }: Bounds): Rule {
    return this.#to.rule((from) => {
      const end = this.#to.state();
      let state = this.#to.text(from, '"');
      for (let count = 0; count < least; count++) state = this.#to.call(state, this.#character);
      if (most === undefined) return this.#textTo(state, end);
      for (let count = least; ; count++) {
        this.#to.text(state, '"', end);
        if (count === most) return end;
        state = this.#to.call(state, this.#character);
      }
    });
  }

  array(item: Rule, { least, most }: Bounds): Rule {
    const to = this.#to;
    return to.rule((from) => {
      const end = to.state();
      const opened = to.call(to.text(from, '['), this.#gap);
      if (least === 0) to.text(opened, ']', end);
      if (most === 0) return end;
      let state = to.call(opened, item);
      for (let count = 1; ; count++) {
        if (count >= least) to.text(to.call(state, this.#gap), ']', end);
        if (count === most) return end;
        const before = to.call(to.text(state, ','), this.#gap);
        if (most === undefined && count >= least) {
          to.call(before, item, state);
          return end;
        }
        state = to.call(before, item);
      }
    });
  }

  /** An object with any keys and values of one kind. */
  map(value: Rule): Rule {
    const to = this.#to;
    return to.rule((from) => {
      const end = to.state();
      const opened = to.call(to.text(from, '{'), this.#gap);
      to.text(opened, '}', end);
      const key = to.state();
      to.skip(opened, key);
      const after = to.call(this.#colon(to.call(key, this.string)), value);
      to.skip(to.call(to.text(after, ','), this.#gap), key);
      to.text(to.call(after, this.#gap), '}', end);
      return end;
    });
  }

  /** An object with these properties, in this order. */
  objectOf(properties: readonly Property[]): Rule {
    const to = this.#to;
    return to.rule((from) => {
      const end = to.state();
      // Two states before each property: nothing is written yet, or something is and a comma comes first.
      let bare: number | undefined = to.call(to.text(from, '{'), this.#gap);
      let filled: number | undefined;
      for (const { name, value, required } of properties) {
        const after = to.state();
        const key = to.state();
        if (bare !== undefined) to.skip(bare, key);
        if (filled !== undefined) to.skip(to.call(to.text(filled, ','), this.#gap), key);
        to.call(this.#colon(to.text(key, JSON.stringify(name))), value, after);
        if (!required && filled !== undefined) to.skip(filled, after);
        filled = after;
        if (required) bare = undefined;
      }
      if (bare !== undefined) to.text(bare, '}', end);
      if (filled !== undefined) to.text(to.call(filled, this.#gap), '}', end);
      return end;
    });
  }

  #colon(from: number): number {
    const colon = this.#to.text(from, ':');
    return this.#to.skip(colon, this.#to.text(colon, ' '));
  }

  #union(from: number, rules: readonly Rule[]): number {
    const end = this.#to.state();
    for (const rule of rules) this.#to.call(from, rule, end);
    return end;
  }

  #written(from: number): number {
    const end = this.#to.state();
    this.#to.skip(from, end);
    this.#to.text(from, ' ', end);
    let line = this.#to.text(from, '\n');
    for (let spaces = 0; spaces < INDENT; spaces++) {
      this.#to.skip(line, end);
      line = this.#to.text(line, ' ');
    }
    this.#to.skip(line, end);
    return end;
  }

  #text(from: number): number {
    return this.#textTo(this.#to.text(from, '"'), this.#to.state());
  }

  /** The rest of a string whose length is free. */
  #textTo(body: number, end: number): number {
    this.#oneCharacter(body, body);
    this.#to.states[body]!.free = true;
    return this.#to.text(body, '"', end);
  }

  #oneCharacter(from: number, end: number): number {
    const to = this.#to;
    for (const [low, high] of [[0x20, 0x21], [0x23, 0x5b], [0x5d, 0x7f]] as const) to.range(from, low, high, end);
    for (const ranges of UTF8) {
      ranges.reduce((state, [low, high], i) => to.range(state, low, high, i === ranges.length - 1 ? end : to.state()), from);
    }
    const escape = to.text(from, '\\');
    to.oneOf(escape, '"\\/bfnrt', end);
    const hex = (state: number, count: number, last: number): number =>
      Array.from({ length: count }).reduce<number>((at, _, i) => to.oneOf(at, HEX, i === count - 1 ? last : to.state()), state);
    // \uD800 to \uDFFF are halves of a pair, and stand for nothing alone.
    const unicode = to.oneOf(escape, 'u');
    hex(to.oneOf(unicode, '0123456789abcefABCEF'), 3, end);
    const half = to.oneOf(unicode, 'dD');
    hex(to.oneOf(half, '01234567'), 2, end);
    const second = to.oneOf(to.text(hex(to.oneOf(half, '89abAB'), 2, to.state()), '\\u'), 'dD');
    hex(to.oneOf(second, 'cdefCDEF'), 2, end);
    return end;
  }

  #whole(from: number): number {
    const to = this.#to;
    const end = to.state();
    const unsigned = to.skip(from, to.text(from, '-'));
    to.text(unsigned, '0', end);
    let digit = to.range(unsigned, 0x31, 0x39);
    for (let count = 1; count < DIGITS; count++) {
      to.skip(digit, end);
      digit = to.range(digit, 0x30, 0x39);
    }
    return to.skip(digit, end);
  }

  #decimal(from: number): number {
    const to = this.#to;
    const whole = to.call(from, this.integer);
    const [fraction, end] = [to.state(), to.state()];
    to.skip(whole, fraction);
    let digit = to.range(to.text(whole, '.'), 0x30, 0x39);
    for (let count = 1; count < DIGITS; count++) {
      to.skip(digit, fraction);
      digit = to.range(digit, 0x30, 0x39);
    }
    to.skip(digit, fraction);
    to.skip(fraction, end);
    const exponent = to.oneOf(fraction, 'eE');
    const unsigned = to.skip(exponent, to.oneOf(exponent, '+-'));
    const first = to.range(unsigned, 0x30, 0x39);
    to.skip(first, end);
    return to.range(first, 0x30, 0x39, end);
  }
}
