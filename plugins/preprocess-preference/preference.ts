import { RowProblem, type Turn } from 'graft';

/** A row, whatever its format was: two completions of one prompt. */
export interface Preference {
  readonly prompt: readonly Turn[];
  readonly chosen: readonly Turn[];
  readonly rejected: readonly Turn[];
  /** Texts as they are: `template: auto` adds nothing to them. */
  readonly plain: boolean;
}

/** What the fields of the completions are called, for messages. */
export interface CompletionNames {
  readonly chosen: string;
  readonly rejected: string;
}

/**
 * Refuses completions that are no answers to the prompt, and such as teach nothing.
 * @throws RowProblem
 */
export function assertComparable({ prompt, chosen, rejected }: Preference, names: CompletionNames): void {
  if (prompt.at(-1)?.role === 'assistant') throw new RowProblem("the prompt's last turn is the assistant's: there is nothing for the completions to answer");
  for (const [name, turns] of [[names.chosen, chosen], [names.rejected, rejected]] as const) {
    const [first, last] = [turns[0]!, turns.at(-1)!];
    if (first.role !== 'assistant') throw new RowProblem(`the first turn of "${name}" is the ${first.role}'s: a completion begins with what the assistant says`);
    if (last.role !== 'assistant') throw new RowProblem(`the last turn of "${name}" is the ${last.role}'s: nothing answers it`);
    if (!turns.some((each) => each.role === 'assistant' && each.trained)) throw new RowProblem(`no turn of the assistant in "${name}" is to be trained on`);
  }
  if (sameTurns(chosen, rejected)) throw teachesNothing(names);
  if (!sameTurns(untrainedBeginning(chosen), untrainedBeginning(rejected))) {
    throw new RowProblem(`what "${names.chosen}" and "${names.rejected}" have before the first turn to be trained on differs, so they are not completions of one prompt`);
  }
}

/** The turns of a completion that are as little trained on as the prompt. */
function untrainedBeginning(turns: readonly Turn[]): readonly Turn[] {
  return turns.slice(0, turns.findIndex((each) => each.role === 'assistant' && each.trained));
}

export function teachesNothing({ chosen, rejected }: CompletionNames): RowProblem {
  return new RowProblem(`"${chosen}" and "${rejected}" are the same, which teaches nothing`);
}

/** The turns that two conversations both begin with. */
export function commonTurns(a: readonly Turn[], b: readonly Turn[]): readonly Turn[] {
  const apart = a.findIndex((turn, index) => b[index] === undefined || !sameTurn(turn, b[index]));
  return apart === -1 ? a : a.slice(0, apart);
}

function sameTurns(a: readonly Turn[], b: readonly Turn[]): boolean {
  return a.length === b.length && commonTurns(a, b).length === a.length;
}

export function sameTurn(a: Turn, b: Turn): boolean {
  return a.role === b.role && a.content === b.content && JSON.stringify(a.extra) === JSON.stringify(b.extra);
}
