import { readdir, stat } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { GraftError, type OptionPath } from '../kernel/errors.ts';

/**
 * Turns a path, a glob or a list of them into files, sorted within each glob, each file once.
 *
 * A glob knows `*` and `?` (within a folder), `**` (any depth), `{a,b}` and `[a-z]`. A path that exists as it is
 * written is never taken for a glob.
 * @param baseDir absolute; what relative paths are relative to
 * @param option the config option that says so, for errors
 * @throws GraftError `DATA_NOT_FOUND` when a path is not there or a glob matches nothing
 */
export async function dataFiles(data: string | readonly string[], baseDir: string, option: OptionPath): Promise<readonly string[]> {
  const found = new Set<string>();
  const named = typeof data === 'string' ? [data] : data;
  for (const [index, each] of named.entries()) {
    const place = typeof data === 'string' ? option : [...option, index];
    for (const file of await filesOf(resolve(baseDir, each), place)) found.add(file);
  }
  return [...found];
}

async function filesOf(path: string, option: OptionPath): Promise<readonly string[]> {
  const status = await stat(path).catch(() => undefined);
  if (status?.isDirectory()) throw new GraftError('DATA_NOT_FOUND', `${path} is a folder, not a data file.`, { option, hint: `Name its files with a glob, such as ${join(path, '*.jsonl')}.` });
  if (status !== undefined) return [path];
  const magic = path.split(sep).findIndex((segment) => /[*?[{]/.test(segment));
  if (magic === -1) throw new GraftError('DATA_NOT_FOUND', `There is no file ${path}.`, { option, hint: 'A relative path is relative to the config file that writes it.' });
  const segments = path.split(sep);
  const root = segments.slice(0, magic).join(sep) || sep;
  const pattern = globPattern(segments.slice(magic).join('/'));
  const matches = (await filesBelow(root)).filter((file) => pattern.test(relative(root, file).split(sep).join('/'))).sort();
  if (matches.length === 0) throw new GraftError('DATA_NOT_FOUND', `No file matches ${path}.`, { option, hint: 'A relative path is relative to the config file that writes it.' });
  return matches;
}

/** Every file below a folder, hidden ones and node_modules left out. */
async function filesBelow(root: string): Promise<readonly string[]> {
  const files: string[] = [];
  const visit = async (dir: string): Promise<void> => {
    for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
      if (entry.name.startsWith('.') || entry.name === 'node_modules') continue;
      const path = join(dir, entry.name);
      if (entry.isDirectory()) await visit(path);
      else if (entry.isFile() || (entry.isSymbolicLink() && (await stat(path).catch(() => undefined))?.isFile() === true)) files.push(path);
    }
  };
  await visit(root);
  return files;
}

/** A glob with `/` between folders as a regular expression over the whole relative path. */
function globPattern(glob: string): RegExp {
  let depth = 0;
  const source = glob.replace(/\*\*\/|\*\*|\*|\?|\[[^\]/]+\]|[{},]|[.+^$()|\\[\]]/g, (part) => {
    if (part === '**/') return '(?:[^/]+/)*';
    if (part === '**') return '.*';
    if (part === '*') return '[^/]*';
    if (part === '?') return '[^/]';
    if (part.length > 2 && part.startsWith('[')) return part.replace(/^\[!/, '[^').replaceAll('\\', '\\\\');
    if (part === '{') return (depth++, '(?:');
    if (part === '}') return depth > 0 ? (depth--, ')') : '\\}';
    if (part === ',') return depth > 0 ? '|' : ',';
    return `\\${part}`;
  });
  return new RegExp(`^${source}${')'.repeat(depth)}$`, 'u');
}
