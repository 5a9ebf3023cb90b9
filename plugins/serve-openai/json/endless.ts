/** Values without an end, such as a list that must have a list that must have a list. */
import type { Automaton, Rule } from './automaton.ts';

/**
 * Takes out of an automaton what leads to no end: whoever went there could never finish a text.
 * @returns whether the rule has texts at all
 */
export function prune({ states }: Automaton, rule: Rule): boolean {
  const stateToDependents = states.map((): number[] => []);
  states.forEach(({ edges, calls, skips }, state) => {
    for (const other of [...edges.map(({ to }) => to), ...skips, ...calls.flatMap(({ rule: { start }, to }) => [start, to])]) stateToDependents[other]!.push(state);
  });
  const ending = new Set<number>();
  const leads = ({ to }: { readonly to: number }): boolean => ending.has(to);
  const returns = ({ rule: { start }, to }: { readonly rule: Rule; readonly to: number }): boolean => ending.has(start) && ending.has(to);
  const skipped = (to: number): boolean => ending.has(to);
  const left = states.flatMap(({ ends }, state) => (ends ? [state] : []));
  for (let state = left.pop(); state !== undefined; state = left.pop()) {
    if (ending.has(state)) continue;
    ending.add(state);
    for (const other of stateToDependents[state]!) {
      const { edges, calls, skips } = states[other]!;
      if (!ending.has(other) && (edges.some(leads) || skips.some(skipped) || calls.some(returns))) left.push(other);
    }
  }
  for (const state of states) {
    state.edges = state.edges.filter(leads);
    state.calls = state.calls.filter(returns);
    state.skips = state.skips.filter(skipped);
  }
  return ending.has(rule.start);
}
