import { fileURLToPath } from 'node:url';

/** Folders whose node_modules an optional package may be in: the user's project, then Graft's own. */
export function packageRoots(): readonly string[] {
  return [process.cwd(), fileURLToPath(new URL('../..', import.meta.url))];
}
