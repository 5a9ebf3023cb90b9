import { turn, type Turn } from './conversation.ts';
import type { Fields } from './fields.ts';

/** Names of the fields that formats share, where they differ from the usual. */
export interface SharedColumns {
  readonly instruction?: string;
  readonly input?: string;
  readonly history?: string;
  readonly system?: string;
}

/**
 * Refuses a row that describes functions to call: the model would be trained to call what it was not told of.
 * @throws RowProblem
 */
export function refuseTools(row: Fields): void {
  const tools = row.raw('tools');
  if (tools !== undefined && tools !== null && tools !== '' && !(Array.isArray(tools) && tools.length === 0)) row.fail('the field "tools" describes functions to call, which templates are not given yet');
}

/** A system prompt in a field of its own; none where it is missing or empty. */
export function systemTurns(row: Fields, columns: SharedColumns): readonly Turn[] {
  const system = row.optionalText(columns.system ?? 'system');
  return system === '' ? [] : [turn('system', system)];
}

/**
 * Alpaca's task: the system prompt, the turns of its history, and what is to be answered now.
 * @throws RowProblem when a field is missing or is not what it must be
 */
export function taskTurns(row: Fields, columns: SharedColumns): readonly Turn[] {
  const instructionName = columns.instruction ?? 'instruction';
  const input = row.optionalText(columns.input ?? 'input');
  // A task may stand in the input alone.
  const instruction = input.trim() !== '' && row.raw(instructionName) === '' ? '' : row.text(instructionName, 'instruction');
  const historyName = columns.history ?? 'history';
  const history = row.has(historyName) ? row.list(historyName, 'history') : [];
  const earlier = history.flatMap((pair, index): Turn[] => {
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((text) => typeof text === 'string')) return row.fail(`the field "${historyName}" must be a list of [instruction, answer], and its item ${index + 1} is not`);
    return [turn('user', row.checked(historyName, pair[0] as string)), turn('assistant', row.checked(historyName, pair[1] as string))];
  });
  return [...systemTurns(row, columns), ...earlier, turn('user', [instruction, input].filter((text) => text !== '').join('\n'), { task: { instruction, input } })];
}

/** The turns with a system prompt first, where they bring none themselves. */
export function withSystemPrompt(turns: readonly Turn[], system: string | undefined): readonly Turn[] {
  return system === undefined || turns.some((each) => each.role === 'system') ? turns : [turn('system', system), ...turns];
}
