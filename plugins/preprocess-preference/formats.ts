import { Fields, readTurns, refuseTools, systemTurns, taskTurns, turn, withSystemPrompt, type Role, type Turn } from 'graft';
import type { Columns, PreferenceOptions } from './options.ts';
import { assertComparable, commonTurns, sameTurn, teachesNothing, type CompletionNames, type Preference } from './preference.ts';

/** A format by name, `auto` resolved. */
export type Format = Exclude<PreferenceOptions['format'], 'auto'>;

/** What reading a row depends on. */
export interface RowReading {
  readonly columns: Columns;
  /** Names of roles beside the usual ones. */
  readonly roles: Readonly<Record<string, Role>>;
  /** System prompt of rows that bring none. */
  readonly systemPrompt: string | undefined;
}

type Reader = (row: Fields, reading: RowReading, names: CompletionNames) => Preference;

const formatToReader: Readonly<Record<Format, Reader>> = { trl: readTrl, sharegpt: readSharegpt, alpaca: readAlpaca, openai: readOpenai };

/** What of `columns` each format has. */
export const formatToColumns: Readonly<Record<Format, readonly (keyof Columns)[]>> = {
  trl: ['prompt', 'chosen', 'rejected', 'role', 'content', 'system'],
  sharegpt: ['messages', 'chosen', 'rejected', 'role', 'content', 'system'],
  alpaca: ['instruction', 'input', 'history', 'system', 'chosen', 'rejected'],
  openai: ['input', 'messages', 'chosen', 'rejected', 'role', 'content'],
};

/** For the message about rows whose format cannot be told. */
export const KNOWN_FIELDS = 'prompt, chosen and rejected (trl), conversations, chosen and rejected (sharegpt), instruction, chosen and rejected (alpaca), input, preferred_output and non_preferred_output (openai)';

/**
 * Sees a row's format from the names of its fields.
 * @returns undefined when it cannot be told
 */
export function detectFormat(value: Readonly<Record<string, unknown>>, columns: Columns): Format | undefined {
  // In a table, a field that only other rows have is null.
  const has = (name: string): boolean => value[name] !== undefined && value[name] !== null;
  if (has('preferred_output') || has('non_preferred_output') || isObject(value[columns.input ?? 'input'])) return 'openai';
  // Rows that have a prompt often have the preferred conversation once more, as `messages`.
  if (has(columns.prompt ?? 'prompt')) return 'trl';
  if (has(columns.instruction ?? 'instruction')) return 'alpaca';
  if (has(columns.messages ?? 'conversations') || has('messages')) return 'sharegpt';
  return has(columns.chosen ?? 'chosen') || has(columns.rejected ?? 'rejected') ? 'trl' : undefined;
}

/** @throws RowProblem when the row is not of this format, or holds nothing to learn */
export function readRow(value: Readonly<Record<string, unknown>>, format: Format, reading: RowReading): Preference {
  const row = new Fields(value);
  refuseTools(row);
  const { columns, systemPrompt } = reading;
  const names = format === 'openai' ? { chosen: columns.chosen ?? 'preferred_output', rejected: columns.rejected ?? 'non_preferred_output' } : { chosen: columns.chosen ?? 'chosen', rejected: columns.rejected ?? 'rejected' };
  const preference = formatToReader[format](row, reading, names);
  assertComparable(preference, names);
  return { ...preference, prompt: withSystemPrompt(preference.prompt, systemPrompt) };
}

/** TRL: texts, or lists of messages, whose prompt may stand in both conversations instead of in a field. A table cell may hold messages as JSON. */
function readTrl(row: Fields, reading: RowReading, names: CompletionNames): Preference {
  const { columns } = reading;
  const promptName = columns.prompt ?? 'prompt';
  const [prompt, chosenCell, rejectedCell] = [promptName, names.chosen, names.rejected].map((name) => row.raw(name));
  const bothJson = holdsTurns(chosenCell, columns) && holdsTurns(rejectedCell, columns);
  if (!isTurns(chosenCell) && !isTurns(rejectedCell) && !Array.isArray(prompt) && !bothJson) {
    // An empty prompt is a prompt: the model then learns to begin by itself.
    const text = prompt === '' ? '' : row.text(promptName, 'prompt');
    return { plain: true, prompt: [...systemTurns(row, columns), turn('user', text)], ...textCompletions(row, names) };
  }
  const { chosen, rejected } = turnCompletions(row, reading, names);
  const given = Array.isArray(prompt) || holdsTurns(prompt, columns) ? turnsOf(row.listOrOne(promptName, 'prompt'), promptName, reading) : row.has(promptName) ? [turn('user', row.text(promptName, 'prompt'))] : [];
  if (given.length > 0 && chosen[0]!.role === 'assistant') return { plain: false, prompt: systemFirst(row, columns, given), chosen, rejected };

  const common = commonTurns(chosen, rejected);
  if (common.length === chosen.length && common.length === rejected.length) throw teachesNothing(names);
  if (common.length === 0) row.fail(`"${names.chosen}" and "${names.rejected}" have no turn in common at their beginning, and there is no "${promptName}" to answer`);
  if (!given.every((each) => common.some((other) => sameTurn(each, other)))) row.fail(`"${names.chosen}" and "${names.rejected}" are whole conversations, and what they begin with is not the field "${promptName}"`);
  for (const [name, turns] of [[names.chosen, chosen], [names.rejected, rejected]] as const) {
    if (turns.length === common.length) row.fail(`"${name}" is nothing but the beginning of the other conversation, so it answers nothing`);
  }
  return { plain: false, prompt: systemFirst(row, columns, common), chosen: chosen.slice(common.length), rejected: rejected.slice(common.length) };
}

/** LLaMA-Factory's conversations: the prompt's turns in a list, and a turn or a list of them for either completion. */
function readSharegpt(row: Fields, reading: RowReading, names: CompletionNames): Preference {
  const { columns } = reading;
  const listName = columns.messages ?? (['conversations', 'messages'].find((name) => row.has(name)) ?? 'conversations');
  const prompt = turnsOf(row.list(listName, 'messages'), listName, reading);
  return { plain: false, prompt: systemFirst(row, columns, prompt), ...turnCompletions(row, reading, names) };
}

/** LLaMA-Factory's tasks, with texts for the completions. */
function readAlpaca(row: Fields, { columns }: RowReading, names: CompletionNames): Preference {
  return { plain: false, prompt: taskTurns(row, columns), ...textCompletions(row, names) };
}

/** The file format of OpenAI's preference fine-tuning. */
function readOpenai(row: Fields, reading: RowReading, names: CompletionNames): Preference {
  const { columns } = reading;
  const inputName = columns.input ?? 'input';
  const input = row.inside(inputName, 'input');
  refuseTools(input);
  const listName = columns.messages ?? 'messages';
  return { plain: false, prompt: turnsOf(input.list(listName, 'messages'), `${inputName}.${listName}`, reading), ...turnCompletions(row, reading, names) };
}

function textCompletions(row: Fields, names: CompletionNames): Pick<Preference, 'chosen' | 'rejected'> {
  return { chosen: [turn('assistant', row.text(names.chosen, 'chosen'))], rejected: [turn('assistant', row.text(names.rejected, 'rejected'))] };
}

function turnCompletions(row: Fields, reading: RowReading, names: CompletionNames): Pick<Preference, 'chosen' | 'rejected'> {
  return { chosen: turnsOf(row.listOrOne(names.chosen, 'chosen'), names.chosen, reading), rejected: turnsOf(row.listOrOne(names.rejected, 'rejected'), names.rejected, reading) };
}

function turnsOf(list: readonly unknown[], name: string, { columns, roles }: RowReading): readonly Turn[] {
  return readTurns(list, name, { ...turnNames(list, columns), roles });
}

/** `role` and `content`, or `from` and `value`, whichever the first turn has. */
function turnNames(list: readonly unknown[], columns: Columns): { readonly role: string; readonly content: string } {
  const from = isObject(list[0]) && 'from' in list[0];
  return { role: columns.role ?? (from ? 'from' : 'role'), content: columns.content ?? (from ? 'value' : 'content') };
}

/** Whether a text is a turn or a list of turns as JSON, and not one that only begins like it. */
function holdsTurns(cell: unknown, columns: Columns): boolean {
  if (typeof cell !== 'string' || !/^\s*[[{]/.test(cell)) return false;
  let parsed: unknown;
  try {
    parsed = JSON.parse(cell);
  } catch {
    return false;
  }
  const list: readonly unknown[] = Array.isArray(parsed) ? parsed : [parsed];
  const { role, content } = turnNames(list, columns);
  return list.length > 0 && list.every((each) => isObject(each) && role in each && content in each);
}

function systemFirst(row: Fields, columns: Columns, turns: readonly Turn[]): readonly Turn[] {
  return turns.some((each) => each.role === 'system') ? turns : [...systemTurns(row, columns), ...turns];
}

function isTurns(value: unknown): boolean {
  return Array.isArray(value) || isObject(value);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
