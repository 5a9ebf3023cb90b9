import pc from 'picocolors';

/** Columns beside each other, aligned at the left, below their names. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  return all.map((row, i) => {
    const line = row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ').trimEnd();
    return i === 0 ? pc.bold(line) : line;
  }).join('\n');
}
