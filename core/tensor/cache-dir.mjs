// @ts-check
// JavaScript, because it is needed before anything can load TypeScript.
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * Absolute folder for caches that outlive a run: `GRAFT_CACHE`, else `graft` in the user's cache folder.
 * @returns {string}
 */
export function cacheDir() {
  return resolve(process.env['GRAFT_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'graft'));
}
