// @ts-check
// JavaScript, because it is what loads the TypeScript.
import { readFileSync, statSync } from 'node:fs';
import { Module, createRequire } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { cacheDir } from '../tensor/cache-dir.mjs';
import { KeptTexts, sha256 } from './kept-texts.mjs';

const HOME = fileURLToPath(new URL('../..', import.meta.url));
const KEPT_BYTES = 64 * 2 ** 20;
/**
 * A package of hundreds of small ES modules, which take Node a quarter of a second one by one. The others stay outside: they
 * are one file, or are needed rarely, or must be one instance in the process for those who load them themselves.
 */
const BUNDLED_PACKAGE = 'typebox';
/** Packages with hundreds of exports that half of all files import: a bundle would copy all of them for each such file. */
const WIDE_PACKAGES = ['@tensorflow/tfjs', '@tensorflow/tfjs-core'];

const require = createRequire(import.meta.url);

/**
 * Runs one of Graft's TypeScript files, with all files of Graft that it imports: bundled once, and again whenever any of
 * them is no longer what it was. Node would load each by itself, through hooks in another thread.
 * @param {URL} entry
 * @returns {Promise<any>} what it exports
 */
export async function loadProgram(entry) {
  const file = fileURLToPath(entry);
  const kept = new KeptTexts(join(cacheDir(), 'program'), KEPT_BYTES);
  const key = `${file}\0${import.meta.resolve(BUNDLED_PACKAGE)}`;
  const known = readBundle(kept.read(key));
  const { code, inputs } = known ?? (await bundle(file));
  if (known === undefined) kept.write(key, `${JSON.stringify(inputs)}\n${code}`);
  return run(code, join(dirname(file), `.graft-${relative(HOME, file).replaceAll(sep, '-')}.cjs`));
}

/**
 * @typedef {{ readonly code: string, readonly inputs: readonly (readonly [file: string, stamp: string])[] }} Bundle
 *
 * @param {string | undefined} text
 * @returns {Bundle | undefined} undefined where it would no longer be made the same
 */
function readBundle(text) {
  if (text === undefined) return undefined;
  const cut = text.indexOf('\n');
  /** @type {Bundle['inputs']} */
  const inputs = JSON.parse(text.slice(0, cut));
  return inputs.every(([file, stamp]) => stampOf(file) === stamp) ? { inputs, code: text.slice(cut + 1) } : undefined;
}

/**
 * By content; an installed package's files, of which there are many and which nobody edits, by size and time.
 * @param {string} file
 */
function stampOf(file) {
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
 * @param {string} entry
 * @returns {Promise<Bundle>}
 */
async function bundle(entry) {
  const esbuild = await import('esbuild');
  /** @type {Map<string, string>} */
  const fileToStamp = new Map();
  for (const tool of [import.meta.filename, fileURLToPath(import.meta.resolve('esbuild/package.json'))]) fileToStamp.set(tool, stampOf(tool));
  const { outputFiles } = await esbuild.build({
    ...{ bundle: true, write: false, format: 'cjs', platform: 'node', target: 'node20', keepNames: true, sourcemap: 'inline', sourcesContent: false },
    entryPoints: [entry],
    outfile: join(dirname(entry), 'program.cjs'),
    absWorkingDir: HOME,
    // `import()` becomes a require in a promise: one bundle is one program.
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': '__importMetaUrl', 'import.meta.dirname': '__importMetaDirname' },
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
    plugins: [{ name: 'graft-program', setup: (build) => setUp(build, fileToStamp) }],
  });
  return { code: /** @type {import('esbuild').OutputFile} */ (outputFiles[0]).text, inputs: [...fileToStamp] };
}

/**
 * @param {import('esbuild').PluginBuild} build
 * @param {Map<string, string>} fileToStamp of each file, by what was read or before it is read
 */
function setUp(build, fileToStamp) {
  const bundled = `${sep}node_modules${sep}${BUNDLED_PACKAGE}${sep}`;
  build.onResolve({ filter: /^[^./]/ }, ({ path, kind, importer, namespace }) => {
    if (WIDE_PACKAGES.includes(path) && namespace === 'file') return { path, namespace: 'wide' };
    const inside = kind === 'entry-point' || path === BUNDLED_PACKAGE || path.startsWith(`${BUNDLED_PACKAGE}/`) || importer.includes(bundled);
    return inside ? undefined : { path, external: true };
  });
  build.onLoad({ filter: /.*/, namespace: 'wide' }, ({ path }) => {
    const file = require.resolve(path);
    fileToStamp.set(file, stampOf(file));
    const names = Object.keys(/** @type {object} */ (require(path)));
    return { contents: `const it = require(${JSON.stringify(path)});\n${names.map((name) => `export const ${name} = it.${name};\n`).join('')}`, loader: 'js' };
  });
  build.onLoad({ filter: /.*/, namespace: 'file' }, ({ path }) => {
    if (isOfPackage(path)) return void fileToStamp.set(path, stampOf(path));
    const bytes = readFileSync(path);
    fileToStamp.set(path, sha256(bytes));
    const source = bytes.toString('utf8');
    if (!path.endsWith('.ts')) return undefined;
    const place = source.includes('import.meta.') ? `const __importMetaUrl = ${JSON.stringify(pathToFileURL(path).href)}, __importMetaDirname = ${JSON.stringify(dirname(path))}; ` : '';
    return { contents: place + source, loader: 'ts' };
  });
}

/**
 * @param {string} code
 * @param {string} filename where it would lie if it were written: stack traces and `require` go by it
 */
function run(code, filename) {
  const module = /** @type {NodeModule & { _compile(code: string, filename: string): void }} */ (new Module(filename));
  module.filename = filename;
  const load = createRequire(filename);
  module.require = /** @type {NodeModule['require']} */ (
    (id) => {
      // Node would read and parse the source maps of packages: 16 MB for tfjs alone.
      process.setSourceMapsEnabled(false);
      try {
        return load(id);
      } finally {
        process.setSourceMapsEnabled(true);
      }
    }
  );
  process.setSourceMapsEnabled(true);
  module._compile(code, filename);
  return module.exports;
}
