import { basename } from 'node:path';
import { watch } from 'chokidar';
import { isIgnored } from './signature.ts';

/** How long nothing may change before a change counts as settled. */
const QUIET_MS = 25;

export interface Watcher {
  close(): Promise<void>;
}

/**
 * Watches folders of plugins, and tells once per settled change: a save in several steps, or a checkout of many files, is one.
 * @param changed is given when the first of the changes was seen, by `performance.now()`
 */
export async function watchFolders(dirs: readonly string[], changed: (since: number) => void): Promise<Watcher> {
  const roots = new Set(dirs);
  const watcher = watch([...dirs], { ignoreInitial: true, ignored: (path) => !roots.has(path) && isIgnored(basename(path)) });
  let timer: NodeJS.Timeout | undefined;
  let since = 0;
  watcher.on('all', () => {
    if (timer === undefined) since = performance.now();
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = undefined;
      changed(since);
    }, QUIET_MS);
  });
  await new Promise<void>((resolve) => watcher.once('ready', resolve));
  return {
    close: async () => {
      clearTimeout(timer);
      await watcher.close();
    },
  };
}
