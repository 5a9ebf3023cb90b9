import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Whether a file or folder of this name is none of a plugin's sources: installed packages, hidden files, what editors leave beside a file while they save it. */
export const isIgnored = (name: string): boolean => /^\.|^node_modules$|~$|\.sw[a-z]$|\.tmp(?:\.|$)|^#.*#$|^4913$|\.crswap$|___jb_(?:tmp|old)___$/.test(name);

/** A folder's files by name, size and time: it changes when any of them was touched, added or removed. */
export async function signatureOf(dir: string): Promise<string> {
  const entries = (await readdir(dir, { withFileTypes: true }).catch(() => [])).filter(({ name }) => !isIgnored(name));
  const sign = async (entry: (typeof entries)[number]): Promise<string> => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return `(${await signatureOf(path)})`;
    const { size, mtimeMs, ino } = await stat(path).catch(() => ({ size: -1, mtimeMs: 0, ino: 0 }));
    return `${entry.name}:${size}:${mtimeMs}:${ino}`;
  };
  return `${dir}:${(await Promise.all(entries.map(sign))).sort().join(',')}`;
}
