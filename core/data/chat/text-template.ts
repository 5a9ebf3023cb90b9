import { distance } from 'fastest-levenshtein';
import { GraftError } from '../../kernel/errors.ts';
import { RowProblem } from '../row.ts';
import type { Conversation } from './conversation.ts';

/** What a template of text may name. */
const PLACEHOLDERS = ['instruction', 'input', 'system', 'output'] as const;
type Placeholder = (typeof PLACEHOLDERS)[number];

/** One exchange as text: what is given, and what is to be learned. */
export interface Exchange {
  readonly prompt: string;
  /** Without the end token, which is appended as a token. */
  readonly completion: string;
  readonly trained: boolean;
}

type Part = string | { readonly placeholder: Placeholder };

/** What comes between two exchanges of one conversation. */
const BETWEEN = '\n\n';

/**
 * A prompt written as text with `{instruction}`, `{input}`, `{system}` and `{output}`; `{{` and `}}` are braces. What
 * follows `{output}` belongs to the completion; without `{output}` the completion stands at the end. Without `{input}`
 * an input follows the instruction on a line of its own; without `{system}` a system prompt stands first, with an empty
 * line after it.
 */
export class TextTemplate {
  readonly #parts: readonly Part[];
  readonly #withoutInput: readonly Part[] | undefined;
  readonly #defaultSystem: string;

  /**
   * @param withoutInput the text for exchanges without an input, where it differs
   * @param defaultSystem what `{system}` is where a conversation has none
   * @throws GraftError `TEMPLATE_PLACEHOLDER` for an unknown or misplaced placeholder
   */
  constructor(text: string, withoutInput?: string, defaultSystem = '') {
    this.#parts = parse(text, 'template');
    this.#withoutInput = withoutInput === undefined ? undefined : parse(withoutInput, 'template_no_input');
    this.#defaultSystem = defaultSystem;
  }

  /** @throws RowProblem when turns do not alternate, or a tool speaks: text has no place for that */
  render({ turns }: Conversation): readonly Exchange[] {
    const system = turns.filter((turn) => turn.role === 'system').map((turn) => turn.content).join(BETWEEN);
    const spoken = turns.filter((turn) => turn.role !== 'system');
    const exchanges: Exchange[] = [];
    for (let i = 0; i < spoken.length; i += 2) {
      const [asked, answered] = [spoken[i]!, spoken[i + 1]];
      if (asked.role !== 'user' || answered?.role !== 'assistant') {
        const wrong = asked.role !== 'user' ? asked : answered;
        throw new RowProblem(`turn ${i + (wrong === asked ? 1 : 2)} is the ${wrong?.role}'s where the ${wrong === asked ? 'user' : 'assistant'}'s is expected; a text template needs the two by turns`);
      }
      const task = asked.task ?? { instruction: asked.content, input: '' };
      const parts = task.input === '' ? (this.#withoutInput ?? this.#parts) : this.#parts;
      const first = i === 0;
      const values: Record<Placeholder, string> = {
        instruction: names(parts, 'input') ? task.instruction : asked.content,
        input: task.input,
        system: first ? system || this.#defaultSystem : '',
        output: answered.content,
      };
      const lead = !first ? BETWEEN : system !== '' && !names(parts, 'system') ? `${system}${BETWEEN}` : '';
      const at = parts.findIndex((part) => typeof part !== 'string' && part.placeholder === 'output');
      const fill = (some: readonly Part[]): string => some.map((part) => (typeof part === 'string' ? part : values[part.placeholder])).join('');
      const prompt = fill(at === -1 ? parts : parts.slice(0, at));
      // A template that begins with {system} would leave its line ends behind on later exchanges.
      exchanges.push({ prompt: `${lead}${values.system === '' && names(parts, 'system') ? prompt.trimStart() : prompt}`, completion: at === -1 ? answered.content : fill(parts.slice(at)), trained: answered.trained });
    }
    return exchanges;
  }
}

function names(parts: readonly Part[], placeholder: Placeholder): boolean {
  return parts.some((part) => typeof part !== 'string' && part.placeholder === placeholder);
}

function parse(text: string, option: string): readonly Part[] {
  const fail = (message: string, hint: string): never => {
    throw new GraftError('TEMPLATE_PLACEHOLDER', message, { option: [option], hint });
  };
  const known = PLACEHOLDERS.map((name) => `{${name}}`).join(', ');
  const parts = text.split(/(\{\{|\}\}|\{[^{}]*\}|[{}])/).map((piece): Part => {
    if (piece === '{{' || piece === '}}') return piece[0]!;
    if (piece === '{' || piece === '}') return fail(`The template has a single ${piece}.`, `Write ${piece}${piece} for a brace, or one of ${known}.`);
    const name = /^\{(.*)\}$/s.exec(piece)?.[1]?.trim();
    if (name === undefined) return piece;
    const placeholder = PLACEHOLDERS.find((each) => each === name);
    if (placeholder !== undefined) return { placeholder };
    const near = PLACEHOLDERS.find((each) => distance(each, name) <= 2);
    return fail(`The template names {${name}}, which is not known.${near === undefined ? '' : ` Did you mean {${near}}?`}`, `Known are ${known}.`);
  });
  const of = (placeholder: Placeholder): number => parts.filter((part) => typeof part !== 'string' && part.placeholder === placeholder).length;
  if (of('instruction') === 0) fail('The template has no {instruction}, so no example would hold its task.', `Known are ${known}.`);
  if (of('output') > 1) fail('The template has {output} more than once.', 'What is to be learned stands in one place.');
  return parts;
}
