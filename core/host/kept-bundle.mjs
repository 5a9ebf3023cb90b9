// @ts-check
import { readFileSync, statSync } from 'node:fs';
import { Module, createRequire } from 'node:module';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheDir } from '../tensor/cache-dir.mjs';
import { KeptTexts, sha256 } from './kept-texts.mjs';

const MOST_BYTES = 64 * 2 ** 20;

/** Graft's own folder, with a separator at its end. */
export const HOME = fileURLToPath(new URL('../..', import.meta.url));

/**
 * CommonJS code, and what each file was that it was made of.
 * @typedef {{ readonly code: string, readonly inputs: readonly (readonly [file: string, stamp: string])[] }} Bundle
 */

const texts = () => new KeptTexts(join(cacheDir(), 'program'), MOST_BYTES);

/**
 * @param {string} key
 * @returns {Bundle | undefined} undefined where it would no longer be made the same
 */
export function readBundle(key) {
  const text = texts().read(key);
  if (text === undefined) return undefined;
  const cut = text.indexOf('\n');
  /** @type {Bundle['inputs']} */
  const inputs = JSON.parse(text.slice(0, cut));
  return inputs.every(([file, stamp]) => stampOf(file) === stamp) ? { inputs, code: text.slice(cut + 1) } : undefined;
}

/**
 * @param {string} key
 * @param {Bundle} bundle
 */
export function writeBundle(key, { code, inputs }) {
  texts().write(key, `${JSON.stringify(inputs)}\n${code}`);
}

/**
 * What a file is: by content; a package's files, of which there are many and which nobody edits, by size and time.
 * @param {string} file
 */
export function stampOf(file) {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) return 'absent';
  return isOfPackage(file) ? `${found.size} ${found.mtimeMs}` : sha256(readFileSync(file));
}

/**
 * Whether a file belongs to a package that Graft stands on. Graft may itself be installed as one.
 * @param {string} file
 */
function isOfPackage(file) {
  return (file.startsWith(HOME) ? file.slice(HOME.length - 1) : file).includes(`${sep}node_modules${sep}`);
}

/**
 * Runs code as a CommonJS module.
 * @param {string} code
 * @param {string} filename where it would lie if it were written: stack traces and `require` go by it
 * @param {(id: string) => any} [load] in place of Node's require
 * @returns {any} what it exports
 */
export function runBundle(code, filename, load = createRequire(filename)) {
  const module = /** @type {NodeModule & { _compile(code: string, filename: string): void }} */ (new Module(filename));
  module.filename = filename;
  module.require = /** @type {NodeModule['require']} */ (load);
  module._compile(code, filename);
  return module.exports;
}
