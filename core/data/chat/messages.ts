import { kindOf } from '../json.ts';
import { RowProblem } from '../row.ts';
import { turn, type Role, type Turn } from './conversation.ts';
import { Fields } from './fields.ts';

/** What the fields of a turn are called, and who its roles are. */
export interface TurnFields {
  readonly role: string;
  readonly content: string;
  readonly roles: Readonly<Record<string, Role>>;
}

const USUAL_ROLES: Readonly<Record<string, Role>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  human: 'user',
  assistant: 'assistant',
  gpt: 'assistant',
  chatgpt: 'assistant',
  bot: 'assistant',
  model: 'assistant',
  tool: 'tool',
  function: 'tool',
  observation: 'tool',
};

/**
 * Reads a list of turns. `weight: 0` (OpenAI) and `train: false` (axolotl) on a turn of the assistant keep it from being
 * trained on.
 * @param listName the field that the list stands in, for messages
 */
export function readTurns(list: readonly unknown[], listName: string, { role: roleName, content: contentName, roles }: TurnFields): readonly Turn[] {
  if (list.length === 0) throw new RowProblem(`the field "${listName}" is an empty list`);
  return list.map((item, index) => {
    const place = `${listName}[${index}]: `;
    if (typeof item !== 'object' || item === null || Array.isArray(item)) throw new RowProblem(`${place}a turn must be an object with "${roleName}" and "${contentName}", and is ${kindOf(item)}`);
    const fields = new Fields(item as Record<string, unknown>, place);
    const said = fields.text(roleName, 'role');
    const role = roles[said] ?? USUAL_ROLES[said.toLowerCase()];
    if (role === undefined) fields.fail(`the role "${said}" is not known; say who it is with roles: { ${said}: user }`);
    const { [roleName]: _role, [contentName]: _content, weight, train, ...others } = item as Record<string, unknown>;
    if (weight !== undefined && weight !== null && weight !== 0 && weight !== 1) fields.fail(`"weight" must be 0 or 1, and is ${JSON.stringify(weight)}`);
    if (train !== undefined && train !== null && typeof train !== 'boolean') fields.fail(`"train" must be true or false, and is ${kindOf(train)}`);
    const extra = Object.fromEntries(Object.entries(others).filter(([, value]) => value !== null && value !== undefined));
    return turn(role!, contentOf(fields, contentName, role!, extra), { trained: weight !== 0 && train !== false, extra });
  });
}

/** Text, or OpenAI's list of text parts. Only a turn that calls tools may say nothing. */
function contentOf(fields: Fields, name: string, role: Role, extra: Readonly<Record<string, unknown>>): string {
  const value = fields.raw(name);
  if (Array.isArray(value)) {
    const parts = value.map((part: unknown) => {
      const { type, text } = (part ?? {}) as { type?: unknown; text?: unknown };
      if (type !== 'text' || typeof text !== 'string') fields.fail(`"${name}" has a part that is not text (${JSON.stringify(type)}), and only text can be trained on`);
      return text as string;
    });
    return fields.checked(name, parts.join(''));
  }
  if (role !== 'assistant' && value === '') return '';
  return (value === null || value === undefined || value === '') && extra['tool_calls'] !== undefined ? '' : fields.text(name, 'content');
}
