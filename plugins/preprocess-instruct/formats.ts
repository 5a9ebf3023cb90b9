import { GraftError, RowProblem } from 'graft';
import { turn, type Conversation, type Role, type Turn } from './conversation.ts';
import { Fields } from './fields.ts';
import { readTurns, type TurnFields } from './messages.ts';
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

const formatToColumns: Readonly<Record<Format, readonly (keyof Columns)[]>> = {
  alpaca: ['instruction', 'input', 'output', 'history', 'system'],
  sharegpt: ['messages', 'role', 'content', 'system'],
  messages: ['messages', 'role', 'content', 'system'],
  prompt_completion: ['prompt', 'completion', 'role', 'content', 'system'],
};

/**
 * Refuses names for fields that a format does not have: they would rename nothing.
 * @throws GraftError `OPTIONS_CONFLICT`
 */
export function assertColumnsUsed({ format, columns = {}, roles }: Pick<InstructOptions, 'format' | 'columns' | 'roles'>): void {
  if (format === 'auto') return;
  const known = formatToColumns[format];
  const unused = (Object.keys(columns) as (keyof Columns)[]).find((name) => !known.includes(name));
  const hint = `Fields of ${format} are ${known.join(', ')}.`;
  if (unused !== undefined) throw new GraftError('OPTIONS_CONFLICT', `columns.${unused} has no effect: a row of the format ${format} has no such field.`, { option: ['columns', unused], hint });
  if (roles !== undefined && !known.includes('role')) throw new GraftError('OPTIONS_CONFLICT', `roles has no effect: in the format ${format} nobody is named.`, { option: ['roles'], hint });
}

/**
 * Sees a row's format from the names of its fields.
 * @returns undefined when it cannot be told
 */
export function detectFormat(value: Readonly<Record<string, unknown>>, columns: Columns): Format | undefined {
  const has = (name: string): boolean => value[name] !== undefined;
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
  const tools = value['tools'];
  if (tools !== undefined && tools !== null && tools !== '' && !(Array.isArray(tools) && tools.length === 0)) row.fail('the field "tools" describes functions to call, which templates are not given yet');
  const conversation = formatToReader[format](row, reading);
  const { turns } = conversation;
  const system = reading.systemPrompt;
  const whole = system === undefined || turns.some((each) => each.role === 'system') ? turns : [turn('system', system), ...turns];
  const last = whole.at(-1);
  if (last === undefined || !whole.some((each) => each.role === 'assistant')) throw new RowProblem('the assistant says nothing, so there is nothing to learn');
  if (last.role !== 'assistant') throw new RowProblem(`the last turn is the ${last.role}'s: nothing answers it`);
  if (!whole.some((each) => each.role === 'assistant' && each.trained)) throw new RowProblem('no turn of the assistant is to be trained on');
  return { ...conversation, turns: whole };
}

function readAlpaca(row: Fields, { columns }: RowReading): Conversation {
  const instructionName = columns.instruction ?? 'instruction';
  const input = row.optionalText(columns.input ?? 'input');
  // A task may stand in the input alone.
  const instruction = input.trim() !== '' && row.raw(instructionName) === '' ? '' : row.text(instructionName, 'instruction');
  const output = row.text(columns.output ?? 'output', 'output');
  const historyName = columns.history ?? 'history';
  const history = row.has(historyName) ? row.list(historyName, 'history') : [];
  const earlier = history.flatMap((pair, index): Turn[] => {
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((text) => typeof text === 'string')) return row.fail(`the field "${historyName}" must be a list of [instruction, answer], and its item ${index + 1} is not`);
    return [turn('user', row.checked(historyName, pair[0] as string)), turn('assistant', row.checked(historyName, pair[1] as string))];
  });
  return {
    plain: false,
    turns: [
      ...systemOf(row, columns),
      ...earlier,
      turn('user', [instruction, input].filter((text) => text !== '').join('\n'), { task: { instruction, input } }),
      turn('assistant', output),
    ],
  };
}

function readPromptCompletion(row: Fields, { columns, roles }: RowReading): Conversation {
  const promptName = columns.prompt ?? 'prompt';
  const completionName = columns.completion ?? 'completion';
  const turnFields: TurnFields = { role: columns.role ?? 'role', content: columns.content ?? 'content', roles };
  if (Array.isArray(row.raw(promptName))) {
    // TRL's conversational form: both are lists of messages, and only those of the completion are trained on.
    const prompt = readTurns(row.list(promptName, 'prompt'), promptName, turnFields).map((each) => ({ ...each, trained: false }));
    return { plain: false, turns: [...systemOf(row, columns), ...prompt, ...readTurns(row.list(completionName, 'completion'), completionName, turnFields)] };
  }
  // An empty prompt is a prompt: the model then learns to begin by itself.
  const prompt = row.raw(promptName) === '' ? '' : row.text(promptName, 'prompt');
  return { plain: true, turns: [...systemOf(row, columns), turn('user', prompt), turn('assistant', row.text(completionName, 'completion'))] };
}

function readChat(row: Fields, { columns, roles }: RowReading, names: { readonly messages: string; readonly role: string; readonly content: string }): Conversation {
  const listName = columns.messages ?? (row.has(names.messages) ? names.messages : (['messages', 'conversations'].find((name) => row.has(name)) ?? names.messages));
  const turns = readTurns(row.list(listName, 'messages'), listName, { role: columns.role ?? names.role, content: columns.content ?? names.content, roles });
  return { plain: false, turns: turns.some((each) => each.role === 'system') ? turns : [...systemOf(row, columns), ...turns] };
}

function systemOf(row: Fields, columns: Columns): readonly Turn[] {
  const system = row.optionalText(columns.system ?? 'system');
  return system === '' ? [] : [turn('system', system)];
}
