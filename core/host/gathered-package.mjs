// @ts-check
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { HOME, readBundle, runBundle, stampOf, writeBundle } from './kept-bundle.mjs';

const require = createRequire(import.meta.url);
const tfjsCore = dirname(require.resolve('@tensorflow/tfjs-core/package.json'));

/** Packages that must be one instance in the process, whoever loads them. */
const OUTSIDE = ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-cpu'];

/**
 * What is gathered from packages that take Node long to load.
 * @type {Readonly<Record<string, string>>}
 */
const nameToSource = {
  // Hundreds of small ES modules: a quarter of a second one by one, a tenth of that in one.
  typebox: "export * from 'typebox'; export { default } from 'typebox';",
  // tfjs without what nothing here uses (layers, converter, data, webgl): 0.2 s and 17 MB in every process.
  '@tensorflow/tfjs': `
    export * from '@tensorflow/tfjs-core';
    export * from '@tensorflow/tfjs-backend-cpu';
    import ${JSON.stringify(join(tfjsCore, 'dist/register_all_gradients.js'))};
    import ${JSON.stringify(join(tfjsCore, 'dist/public/chained_ops/register_all_chained_ops.js'))};`,
};

/** @type {Map<string, unknown>} */
const nameToExports = new Map();

/** @param {string} name */
export function isGathered(name) {
  return Object.hasOwn(nameToSource, name);
}

/**
 * A package's parts that are used here, as one CommonJS module; one instance in the process.
 * @param {string} name
 * @returns {any} what it exports
 */
export function gathered(name) {
  if (nameToExports.has(name)) return nameToExports.get(name);
  const key = `${HOME}\0${name}`;
  const known = readBundle(key);
  const bundle = known ?? gather(name);
  if (known === undefined) writeBundle(key, bundle);
  const exported = runBundle(bundle.code, join(HOME, 'core', `.graft-${name.replace('/', '-')}.cjs`));
  nameToExports.set(name, exported);
  return exported;
}

/**
 * @param {string} name
 * @returns {import('./kept-bundle.mjs').Bundle}
 */
function gather(name) {
  const esbuild = /** @type {import('esbuild')} */ (require('esbuild'));
  const { outputFiles, metafile } = esbuild.buildSync({
    ...{ bundle: true, write: false, metafile: true, format: 'cjs', platform: 'node', target: 'node20', keepNames: true },
    stdin: { contents: /** @type {string} */ (nameToSource[name]), resolveDir: HOME, sourcefile: import.meta.filename },
    external: OUTSIDE,
    absWorkingDir: HOME,
  });
  const files = [import.meta.filename, require.resolve('esbuild/package.json'), ...Object.keys(metafile.inputs).map((path) => resolve(HOME, path))];
  return { code: /** @type {import('esbuild').OutputFile} */ (outputFiles[0]).text, inputs: [...new Set(files)].map((file) => [file, stampOf(file)]) };
}
