import { failed, type Check, type OracleResult } from './port.ts';

const WIDTH = 26;

/** One result as a line for people. */
export function renderResult(result: OracleResult): string {
  const name = result.method.padEnd(WIDTH);
  if (result.state !== 'checked') return `${WORDS[result.state]} ${name} ${result.reason}`;
  return `${failed(result) ? 'FAILED ' : 'ok     '} ${name} ${result.checks.map(renderCheck).join('  ')}`;
}

const WORDS = { unknown: 'unknown', skipped: 'skipped', broken: 'FAILED ' } as const;

function renderCheck({ name, difference, tolerance }: Check): string {
  const shown = Number.isInteger(difference) ? String(difference) : difference.toExponential(1);
  const beyond = tolerance !== undefined && !(difference <= tolerance);
  return `${name} ${shown}${beyond ? ` (> ${tolerance})` : ''}`;
}

/** The last line: how many of each. */
export function renderSummary(results: readonly OracleResult[]): string {
  const count = (state: OracleResult['state']): number => results.filter((result) => result.state === state).length;
  const bad = results.filter(failed).length;
  const parts = [`${count('checked') + count('broken') - bad} agree`, `${bad} do not`, `${count('unknown')} not known yet`, `${count('skipped')} skipped`];
  return parts.join(', ');
}
