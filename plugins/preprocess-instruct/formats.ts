import { Fields, readTurns, refuseTools, RowProblem, systemTurns, taskTurns, turn, withSystemPrompt, type Conversation, type Role, type TurnFields } from 'graft';
import type { Columns, InstructOptions } from './options.ts';

/** A format by name, `auto` resolved. */
export type Format = Exclude<InstructOptions['format'], 'auto'>;

/** What reading a row depends on. */
export interface RowReading {
  readonly columns: Columns;
  /** Names of roles beside the usual ones. */
  readonly roles: Readonly<Record<string, Role>>;
  /** System prompt of rows that bring none. */
  readonly systemPrompt: string | undefined;
}

const formatToReader: Readonly<Record<Format, (row: Fields, reading: RowReading) => Conversation>> = {
  alpaca: readAlpaca,
  sharegpt: (row, reading) => readChat(row, reading, { messages: 'conversations', role: 'from', content: 'value' }),
  messages: (row, reading) => readChat(row, reading, { messages: 'messages', role: 'role', content: 'content' }),
  prompt_completion: readPromptCompletion,
};

/** What of `columns` each format has. */
export const formatToColumns: Readonly<Record<Format, readonly (keyof Columns)[]>> = {
  alpaca: ['instruction', 'input', 'output', 'history', 'system'],
  sharegpt: ['messages', 'role', 'content', 'system'],
  messages: ['messages', 'role', 'content', 'system'],
  prompt_completion: ['prompt', 'completion', 'role', 'content', 'system'],
};

/**
 * Sees a row's format from the names of its fields.
 * @returns undefined when it cannot be told
 */
export function detectFormat(value: Readonly<Record<string, unknown>>, columns: Columns): Format | undefined {
  // In a table, a field that only other rows have is null.
  const has = (name: string): boolean => value[name] !== undefined && value[name] !== null;
  const list = [columns.messages ?? 'messages', columns.messages ?? 'conversations'].find(has);
  if (list !== undefined) {
    const cell = value[list];
    const first: unknown = Array.isArray(cell) ? cell[0] : undefined;
    const from = typeof cell === 'string' ? /"from"\s*:/.test(cell.slice(0, 1000)) : typeof first === 'object' && first !== null && 'from' in first;
    return columns.role === undefined && from ? 'sharegpt' : 'messages';
  }
  if (has(columns.instruction ?? 'instruction') || has(columns.output ?? 'output')) return 'alpaca';
  if (has(columns.prompt ?? 'prompt') || has(columns.completion ?? 'completion')) return 'prompt_completion';
  return undefined;
}

/** @throws RowProblem when the row is not of this format, or holds nothing to learn */
export function readRow(value: Readonly<Record<string, unknown>>, format: Format, reading: RowReading): Conversation {
  const row = new Fields(value);
  refuseTools(row);
  const conversation = formatToReader[format](row, reading);
  const whole = withSystemPrompt(conversation.turns, reading.systemPrompt);
  const last = whole.at(-1);
  if (last === undefined || !whole.some((each) => each.role === 'assistant')) throw new RowProblem('the assistant says nothing, so there is nothing to learn');
  if (last.role !== 'assistant') throw new RowProblem(`the last turn is the ${last.role}'s: nothing answers it`);
  if (!whole.some((each) => each.role === 'assistant' && each.trained)) throw new RowProblem('no turn of the assistant is to be trained on');
  return { ...conversation, turns: whole };
}

function readAlpaca(row: Fields, { columns }: RowReading): Conversation {
  return { plain: false, turns: [...taskTurns(row, columns), turn('assistant', row.text(columns.output ?? 'output', 'output'))] };
}

function readPromptCompletion(row: Fields, { columns, roles }: RowReading): Conversation {
  const promptName = columns.prompt ?? 'prompt';
  const completionName = columns.completion ?? 'completion';
  const turnFields: TurnFields = { role: columns.role ?? 'role', content: columns.content ?? 'content', roles };
  if (Array.isArray(row.raw(promptName))) {
    // TRL's conversational form: both are lists of messages, and only those of the completion are trained on.
    const prompt = readTurns(row.list(promptName, 'prompt'), promptName, turnFields).map((each) => ({ ...each, trained: false }));
    return { plain: false, turns: [...systemTurns(row, columns), ...prompt, ...readTurns(row.list(completionName, 'completion'), completionName, turnFields)] };
  }
  // An empty prompt is a prompt: the model then learns to begin by itself.
  const prompt = row.raw(promptName) === '' ? '' : row.text(promptName, 'prompt');
  return { plain: true, turns: [...systemTurns(row, columns), turn('user', prompt), turn('assistant', row.text(completionName, 'completion'))] };
}

function readChat(row: Fields, { columns, roles }: RowReading, names: { readonly messages: string; readonly role: string; readonly content: string }): Conversation {
  const listName = columns.messages ?? (row.has(names.messages) ? names.messages : (['messages', 'conversations'].find((name) => row.has(name)) ?? names.messages));
  const turns = readTurns(row.list(listName, 'messages'), listName, { role: columns.role ?? names.role, content: columns.content ?? names.content, roles });
  return { plain: false, turns: turns.some((each) => each.role === 'system') ? turns : [...systemTurns(row, columns), ...turns] };
}
