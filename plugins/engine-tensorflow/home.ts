import { join } from 'node:path';
import { cacheDir } from 'graft';

/** Where `graft engine install tensorflow` puts tfjs-node: a folder of Graft's cache, which no `npm ci` empties. */
export function installedHome(): string {
  return join(cacheDir(), 'engines', 'tensorflow');
}
