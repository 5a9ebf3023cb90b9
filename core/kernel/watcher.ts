import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { isIgnored } from './signature.ts';

/** How long nothing may change before a change counts as settled. */
const QUIET_MS = 25;
/** A second look after a change: what was written into a folder while it was only just being watched raised no event. */
const SECOND_LOOK_MS = 500;

/**
 * Watches folders of plugins, whether they exist yet or not, and tells once per settled change: a save in several steps,
 * or a checkout of many files, is one.
 * @param look is given when the first of the changes was seen, by `performance.now()`; it finds out what changed, if anything
 */
export async function watchFolders(dirs: readonly string[], look: (since: number) => void): Promise<{ close(): Promise<void> }> {
  const { watch } = await import('chokidar');
  const roots = dirs.map((dir) => resolve(dir));
  const isOutside = (path: string): boolean => !roots.some((root) => path === root || root.startsWith(path + sep) || (path.startsWith(root + sep) && !isIgnored(basename(path))));
  const watcher = watch(roots.map(nearestExisting), { ignoreInitial: true, ignored: isOutside });
  let settling: NodeJS.Timeout | undefined;
  let secondLook: NodeJS.Timeout | undefined;
  let since = 0;
  const changed = (): void => {
    if (settling === undefined) since = performance.now();
    clearTimeout(settling);
    clearTimeout(secondLook);
    settling = setTimeout(() => {
      settling = undefined;
      look(since);
      secondLook = setTimeout(() => look(performance.now()), SECOND_LOOK_MS);
    }, QUIET_MS);
  };
  watcher.on('all', changed);
  // chokidar drops a file's second change within 50 ms of the first; the raw events are all there.
  watcher.on('raw', (_event, name, details) => {
    const { watchedPath } = details as { readonly watchedPath: string };
    if (typeof name === 'string' && !isOutside(basename(watchedPath) === name ? watchedPath : join(watchedPath, name))) changed();
  });
  await new Promise<void>((ready) => watcher.once('ready', ready));
  return {
    close: async () => {
      clearTimeout(settling);
      clearTimeout(secondLook);
      await watcher.close();
    },
  };
}

function nearestExisting(dir: string): string {
  return existsSync(dir) || dirname(dir) === dir ? dir : nearestExisting(dirname(dir));
}
