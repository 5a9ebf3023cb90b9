/**
 * A pushdown automaton over bytes. Rules are small nondeterministic automata that call each other, so that values may nest
 * to any depth; `Positions` runs all their possibilities at once and remembers where each byte led.
 */

/** Bytes `low` to `high` lead to a state. */
interface Edge {
  readonly low: number;
  readonly high: number;
  readonly to: number;
}

interface State {
  edges: Edge[];
  calls: { readonly rule: Rule; readonly to: number }[];
  /** States that are reached without a byte. */
  skips: number[];
  /** Whether the rule may end here. */
  ends: boolean;
  /** Whether any text without quotes, backslashes and control characters leads back here. */
  free: boolean;
}

export interface Rule {
  readonly start: number;
}

/** Raised where an automaton would take more states than are allowed, or its texts could be read in too many ways. */
export class TooLarge extends Error {}

const MOST_STATES = 50_000;
/** Configurations of a position: alternatives that begin alike multiply with every level of nesting. */
const MOST_WAYS = 4096;

export class Automaton {
  readonly states: State[] = [];

  state(): number {
    if (this.states.length >= MOST_STATES) throw new TooLarge();
    return this.states.push({ edges: [], calls: [], skips: [], ends: false, free: false }) - 1;
  }

  /** A rule whose body is given later, for values that contain themselves. */
  declare(): Rule {
    return { start: this.state() };
  }

  /** @param body from the rule's first state to where it ends */
  define(rule: Rule, body: (from: number) => number): Rule {
    this.states[body(rule.start)]!.ends = true;
    return rule;
  }

  rule(body: (from: number) => number): Rule {
    return this.define(this.declare(), body);
  }

  /** @returns the state after a byte of a range */
  range(from: number, low: number, high: number, to = this.state()): number {
    this.states[from]!.edges.push({ low, high, to });
    return to;
  }

  /** @returns the state after one of these ASCII characters */
  oneOf(from: number, characters: string, to = this.state()): number {
    for (const character of characters) this.range(from, character.charCodeAt(0), character.charCodeAt(0), to);
    return to;
  }

  /** @returns the state after a text, in UTF-8 */
  text(from: number, text: string, to = this.state()): number {
    const bytes = Buffer.from(text);
    return bytes.reduce((state, byte, i) => this.range(state, byte, byte, i === bytes.length - 1 ? to : this.state()), from);
  }

  /** @returns the state after what a rule accepts */
  call(from: number, rule: Rule, to = this.state()): number {
    this.states[from]!.calls.push({ rule, to });
    return to;
  }

  skip(from: number, to: number): number {
    this.states[from]!.skips.push(to);
    return to;
  }
}

/** A state of a rule, and where to go on when the rule has ended. One object for each such pair. */
interface Configuration {
  readonly id: number;
  readonly state: number;
  readonly parent: Configuration | undefined;
  readonly stateToChild: Map<number, Configuration>;
}

/** Where a text has got to: all the ways in which it can be read so far. */
export interface Position {
  readonly configurations: readonly Configuration[];
  /** Whether the text may end here. */
  readonly accepting: boolean;
  /** Whether it is inside a string that any plain text goes on with. */
  readonly free: boolean;
  readonly byteToNext: Map<number, Position | undefined>;
}

/** The positions of a rule's texts. */
export class Positions {
  readonly #automaton: Automaton;
  readonly #rule: Rule;
  #keyToPosition = new Map<string, Position>();
  #ids = 0;
  #start: Position;

  constructor(automaton: Automaton, rule: Rule) {
    this.#automaton = automaton;
    this.#rule = rule;
    this.#start = this.#begin();
  }

  get start(): Position {
    return this.#start;
  }

  get count(): number {
    return this.#keyToPosition.size;
  }

  /** Forgets the positions seen; whoever still has one may go on from it. */
  forget(): void {
    this.#keyToPosition = new Map();
    this.#start = this.#begin();
  }

  /**
   * @returns undefined where no text of the rule goes on with this byte
   * @throws TooLarge
   */
  next(position: Position, byte: number): Position | undefined {
    const known = position.byteToNext.get(byte);
    if (known !== undefined || position.byteToNext.has(byte)) return known;
    const reached: Configuration[] = [];
    for (const { state, parent } of position.configurations) {
      for (const { low, high, to } of this.#automaton.states[state]!.edges) {
        if (byte >= low && byte <= high) reached.push(this.#child(parent!, to));
      }
    }
    const next = reached.length === 0 ? undefined : this.#closed(reached);
    position.byteToNext.set(byte, next);
    return next;
  }

  #begin(): Position {
    const root: Configuration = { id: this.#ids++, state: -1, parent: undefined, stateToChild: new Map() };
    return this.#closed([this.#child(root, this.#rule.start)]);
  }

  #child(parent: Configuration, state: number): Configuration {
    let child = parent.stateToChild.get(state);
    if (child === undefined) parent.stateToChild.set(state, (child = { id: this.#ids++, state, parent, stateToChild: new Map() }));
    return child;
  }

  /** With all that is reached without a byte: rules entered and rules left. */
  #closed(reached: readonly Configuration[]): Position {
    const { states } = this.#automaton;
    const seen = new Set<Configuration>();
    const configurations: Configuration[] = [];
    let accepting = false;
    const left = [...reached];
    for (let each = left.pop(); each !== undefined; each = left.pop()) {
      if (seen.has(each)) continue;
      seen.add(each);
      if (seen.size > MOST_WAYS) throw new TooLarge('The text can be read in too many ways.');
      if (each.parent === undefined) {
        accepting = true;
        continue;
      }
      const { edges, calls, skips, ends } = states[each.state]!;
      if (edges.length > 0) configurations.push(each);
      for (const to of skips) left.push(this.#child(each.parent, to));
      for (const { rule, to } of calls) left.push(this.#child(this.#child(each.parent, to), rule.start));
      if (ends) left.push(each.parent);
    }
    configurations.sort((a, b) => a.id - b.id);
    const key = `${accepting ? '!' : ''}${configurations.map(({ id }) => id).join(' ')}`;
    let position = this.#keyToPosition.get(key);
    if (position === undefined) {
      position = { configurations, accepting, free: configurations.some(({ state }) => states[state]!.free), byteToNext: new Map() };
      this.#keyToPosition.set(key, position);
    }
    return position;
  }
}
