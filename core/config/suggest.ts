import { distance } from 'fastest-levenshtein';

/** Letters alone: `learningRate`, `learning-rate` and `Learning_Rate` are the same word to whoever typed it. */
function letters(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '');
}

/** Insertions, deletions and substitutions; letters in the wrong order count as one. */
function changesBetween(written: string, name: string): number {
  const swapped = written.length === name.length && [...written].sort().join('') === [...name].sort().join('');
  return swapped ? 1 : distance(written, name);
}

/** The name that was probably meant, or undefined when none is near: at most a third of the letters differ. */
export function nearest(written: string, names: readonly string[]): string | undefined {
  const same = names.find((name) => letters(name) === letters(written) && name !== written);
  if (same !== undefined) return same;
  const allowed = Math.max(1, Math.floor(written.length / 3));
  const ranked = names
    .filter((name) => name !== written)
    .map((name) => ({ name, changes: changesBetween(written.toLowerCase(), name.toLowerCase()) }))
    .filter(({ changes }) => changes <= allowed && changes < written.length)
    .sort((a, b) => a.changes - b.changes);
  return ranked[0]?.name;
}

/** `a`, `b` and `c`, each in backticks. */
export function listed(names: readonly string[], conjunction: 'and' | 'or' = 'and'): string {
  const quoted = names.map((name) => `\`${name}\``);
  return quoted.length < 2 ? quoted.join('') : `${quoted.slice(0, -1).join(', ')} ${conjunction} ${quoted.at(-1)}`;
}
