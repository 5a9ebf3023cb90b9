import { distance } from 'fastest-levenshtein';
import { kindOf } from '../json.ts';
import { RowProblem } from '../row.ts';
import { checkedText } from '../text.ts';

/** What else people call a field. */
const SYNONYMS: Readonly<Record<string, readonly string[]>> = {
  instruction: ['question', 'query', 'prompt', 'task', 'text'],
  output: ['response', 'answer', 'completion', 'target', 'chosen'],
  prompt: ['instruction', 'question', 'query', 'input', 'text'],
  completion: ['response', 'answer', 'output', 'target', 'chosen'],
  messages: ['conversations', 'conversation', 'chat', 'dialog', 'turns'],
  conversations: ['messages', 'conversation', 'chat', 'dialog', 'turns'],
  role: ['from', 'speaker', 'author'],
  from: ['role', 'speaker', 'author'],
  content: ['value', 'text', 'message'],
  value: ['content', 'text', 'message'],
  chosen: ['preferred', 'accepted', 'preferred_output', 'winner', 'better'],
  rejected: ['dispreferred', 'refused', 'non_preferred_output', 'loser', 'worse'],
  preferred_output: ['chosen', 'preferred'],
  non_preferred_output: ['rejected', 'dispreferred'],
};

/** A JSON string of a table cell that holds a list or an object. */
const LOOKS_LIKE_JSON = /^\s*[[{]/;

/** Reads the fields of one object of a row; every complaint names the field. */
export class Fields {
  readonly #value: Readonly<Record<string, unknown>>;
  /** `turn 3: ` inside a conversation. */
  readonly #place: string;

  constructor(value: Readonly<Record<string, unknown>>, place = '') {
    this.#value = value;
    this.#place = place;
  }

  get names(): readonly string[] {
    return Object.keys(this.#value);
  }

  has(name: string): boolean {
    const value = this.#value[name];
    return value !== undefined && value !== null && value !== '';
  }

  raw(name: string): unknown {
    return this.#value[name];
  }

  /**
   * A text that must be there and hold more than white space.
   * @param option the key of `columns` that renames the field
   */
  text(name: string, option: string): string {
    const value = this.#present(name, option);
    if (typeof value !== 'string') this.fail(`the field "${name}" must be text, and is ${kindOf(value)}`);
    if ((value as string).trim() === '') this.fail(`the field "${name}" is empty`);
    return this.checked(name, value as string);
  }

  /** A text that may be missing, null or empty. */
  optionalText(name: string): string {
    const value = this.#value[name] ?? '';
    if (typeof value !== 'string') this.fail(`the field "${name}" must be text, and is ${kindOf(value)}`);
    return this.checked(name, value as string);
  }

  /** A list that must be there; a table cell may hold it as JSON. */
  list(name: string, option: string): readonly unknown[] {
    const parsed = this.#parsed(name, option);
    if (!Array.isArray(parsed)) this.fail(`the field "${name}" must be a list, and is ${kindOf(parsed)}`);
    return parsed as readonly unknown[];
  }

  /** A list as it is, an object as a list of one; a table cell may hold either as JSON. */
  listOrOne(name: string, option: string): readonly unknown[] {
    const parsed = this.#parsed(name, option);
    if (Array.isArray(parsed)) return parsed as readonly unknown[];
    if (typeof parsed !== 'object') this.fail(`the field "${name}" must be a turn or a list of turns, and is ${kindOf(parsed)}`);
    return [parsed];
  }

  /** The fields of an object that must be there; a table cell may hold it as JSON. */
  inside(name: string, option: string): Fields {
    const parsed = this.#parsed(name, option);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) this.fail(`the field "${name}" must be an object, and is ${kindOf(parsed)}`);
    return new Fields(parsed as Record<string, unknown>, `${this.#place}${name}: `);
  }

  checked(name: string, text: string): string {
    try {
      return checkedText(name, text);
    } catch (error) {
      return this.fail((error as RowProblem).message);
    }
  }

  fail(problem: string): never {
    throw new RowProblem(`${this.#place}${problem}`);
  }

  #present(name: string, option: string): unknown {
    const value = this.#value[name];
    if (value !== undefined && value !== null) return value;
    const others = this.names.filter((other) => other !== name);
    const near = SYNONYMS[name]?.find((synonym) => others.includes(synonym)) ?? others.find((other) => distance(other.toLowerCase(), name) <= Math.max(1, Math.floor(name.length / 4)));
    const hint = near === undefined ? '' : `; if "${near}" is meant, set columns: { ${option}: ${near} }`;
    return this.fail(`the field "${name}" is ${value === null ? 'null' : 'missing'} (there ${others.length === 0 ? 'is none' : `is ${others.map((other) => `"${other}"`).join(', ')}`})${value === null ? '' : hint}`);
  }

  #parsed(name: string, option: string): unknown {
    const value = this.#present(name, option);
    return typeof value === 'string' && LOOKS_LIKE_JSON.test(value) ? this.#json(name, value) : value;
  }

  #json(name: string, text: string): unknown {
    try {
      return JSON.parse(text);
    } catch {
      return this.fail(`the field "${name}" begins like JSON, and is not valid JSON`);
    }
  }
}
