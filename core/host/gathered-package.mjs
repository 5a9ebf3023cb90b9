// @ts-check
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HOME, readBundle, runBundle, stampOf, writeBundle } from './kept-bundle.mjs';

/** A package of hundreds of small ES modules, which take Node a quarter of a second one by one: gathered in one, a tenth of that. */
export const GATHERED = 'typebox';

const require = createRequire(import.meta.url);
/** @type {unknown} */
let exported;

/**
 * The package, one instance in the process.
 * @param {import('./kept-texts.mjs').KeptTexts} kept
 * @returns {any}
 */
export function gathered(kept) {
  if (exported !== undefined) return exported;
  const entry = fileURLToPath(import.meta.resolve(GATHERED));
  const known = readBundle(kept, entry);
  const bundle = known ?? gather(entry);
  if (known === undefined) writeBundle(kept, entry, bundle);
  return (exported = runBundle(bundle.code, join(dirname(entry), `.graft-${GATHERED}.cjs`)));
}

/**
 * @param {string} entry
 * @returns {import('./kept-bundle.mjs').Bundle}
 */
function gather(entry) {
  const esbuild = /** @type {import('esbuild')} */ (require('esbuild'));
  const { outputFiles, metafile } = esbuild.buildSync({ bundle: true, write: false, metafile: true, format: 'cjs', platform: 'node', target: 'node20', keepNames: true, entryPoints: [entry], absWorkingDir: HOME });
  const files = [import.meta.filename, require.resolve('esbuild/package.json'), ...Object.keys(metafile.inputs).map((path) => resolve(HOME, path))];
  return { code: /** @type {import('esbuild').OutputFile} */ (outputFiles[0]).text, inputs: files.map((file) => [file, stampOf(file)]) };
}
