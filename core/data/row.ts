import { GraftError } from '../kernel/errors.ts';

/** One record of a data file. */
export interface Row {
  /** Absolute path. */
  readonly file: string;
  /** 1-based: the line that it begins on in a text file, the row in a table. */
  readonly line: number;
  readonly value: Readonly<Record<string, unknown>>;
}

/** A record that cannot be used. */
export interface BadRow {
  readonly file: string;
  readonly line: number;
  /** 1-based, in characters, where the place is known that exactly. */
  readonly column?: number;
  /** A sentence without its full stop. */
  readonly problem: string;
}

/** Thrown where a row is read or turned into an example; caught where the policy for bad rows is known. */
export class RowProblem extends Error {
  override readonly name = 'RowProblem';
}

export function isBadRow(row: Row | BadRow): row is BadRow {
  return 'problem' in row;
}

export function describeBadRow(bad: BadRow): string {
  return `${bad.file}:${bad.line}${bad.column === undefined ? '' : `:${bad.column}`}: ${bad.problem}`;
}

/** What to do about a row that cannot be used. */
export type BadRowPolicy = 'stop' | 'skip';

/** How many reasons a summary of bad rows gives. */
const SHOWN = 5;

/** Stops at the first bad row, or counts them and keeps the first few reasons. */
export class BadRows {
  readonly #policy: BadRowPolicy;
  readonly reasons: string[] = [];
  count = 0;

  constructor(policy: BadRowPolicy) {
    this.#policy = policy;
  }

  /** @throws GraftError `BAD_ROW` when the policy is to stop */
  report(bad: BadRow): void {
    const reason = describeBadRow(bad);
    if (this.#policy === 'stop') throw new GraftError('BAD_ROW', `${reason}.`, { hint: 'Mend the row, or set `on_bad_row: skip` to leave such rows out and have them counted.' });
    this.count++;
    if (this.reasons.length < SHOWN) this.reasons.push(reason);
  }
}

/** A sentence for a warning; undefined when there is nothing to warn of. */
export function badRowSummary({ count, reasons }: { readonly count: number; readonly reasons: readonly string[] }): string | undefined {
  if (count === 0) return undefined;
  const more = count > reasons.length ? `\n  and ${count - reasons.length} more` : '';
  return `${count} bad ${count === 1 ? 'row was' : 'rows were'} left out:\n${reasons.map((reason) => `  ${reason}`).join('\n')}${more}`;
}
