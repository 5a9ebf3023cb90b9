/** Whole numbers between two bounds, digit by digit. */
import type { Automaton, Rule } from './automaton.ts';

/** As many digits as a whole number may have anywhere. */
const MOST = 10n ** 18n - 1n;

/** @returns undefined where no whole number lies within */
export function integerRange(to: Automaton, least: bigint | undefined, most: bigint | undefined): Rule | undefined {
  const low = least === undefined || least < -MOST ? -MOST : least;
  const high = most === undefined || most > MOST ? MOST : most;
  if (low > high) return undefined;
  return to.rule((from) => {
    const end = to.state();
    if (high >= 0n) digits(to, from, low > 0n ? low : 0n, high, end);
    if (low < 0n) digits(to, to.text(from, '-'), high < 0n ? -high : 1n, -low, end);
    return end;
  });
}

/** Numbers from `low` to `high`, neither negative: for each length those between the bounds of that length. */
function digits(to: Automaton, from: number, low: bigint, high: bigint, end: number): void {
  for (let length = String(low).length; length <= String(high).length; length++) {
    const least = length === String(low).length ? String(low) : `1${'0'.repeat(length - 1)}`;
    const most = length === String(high).length ? String(high) : '9'.repeat(length);
    between(to, from, least, most, end);
  }
}

/** A state for each place and for whether the digits so far are still those of a bound; only then does the bound matter. */
function between(to: Automaton, from: number, least: string, most: string, end: number): void {
  let states = new Map([['both', from]]);
  for (let place = 0; place < least.length; place++) {
    const next = new Map<string, number>();
    for (const [kind, state] of states) {
      const [atLeast, atMost] = [kind === 'both' || kind === 'least', kind === 'both' || kind === 'most'];
      const [low, high] = [atLeast ? Number(least[place]) : 0, atMost ? Number(most[place]) : 9];
      for (let digit = low; digit <= high; digit++) {
        const [stillLeast, stillMost] = [atLeast && digit === low, atMost && digit === high];
        const reached = stillLeast && stillMost ? 'both' : stillLeast ? 'least' : stillMost ? 'most' : 'free';
        const target = place === least.length - 1 ? end : (next.get(reached) ?? to.state());
        next.set(reached, target);
        to.text(state, String(digit), target);
      }
    }
    states = next;
  }
}
