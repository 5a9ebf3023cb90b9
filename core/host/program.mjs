// @ts-check
// JavaScript, because it is what loads the TypeScript.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gathered, isGathered } from './gathered-package.mjs';
import { HOME, readBundle, runBundle, stampOf, writeBundle } from './kept-bundle.mjs';
import { sha256 } from './kept-texts.mjs';

/** Packages with hundreds of exports that half of all files import: a bundle would copy all of them for each such file. */
const WIDE_PACKAGES = ['@tensorflow/tfjs', '@tensorflow/tfjs-core', 'typebox'];

/**
 * Runs one of Graft's TypeScript files, with all files of Graft that it imports: bundled once, and again whenever any of
 * them is no longer what it was. Node would load each by itself, through hooks in another thread.
 * @param {URL} entry
 * @returns {Promise<any>} what it exports
 */
export async function loadProgram(entry) {
  const file = fileURLToPath(entry);
  const filename = join(dirname(file), `.graft-${relative(HOME, file).replaceAll(sep, '-')}.cjs`);
  const load = loaderOf(filename);
  const known = readBundle(file);
  const bundle = known ?? (await bundled(file, load));
  if (known === undefined) writeBundle(file, bundle);
  process.setSourceMapsEnabled(true);
  return runBundle(bundle.code, filename, load);
}

/**
 * @param {string} filename of whom packages are for
 * @returns {(id: string) => any}
 */
function loaderOf(filename) {
  const require = createRequire(filename);
  return (id) => {
    // Node would read and parse the source maps of packages: 16 MB for tfjs alone.
    process.setSourceMapsEnabled(false);
    try {
      return isGathered(id) ? gathered(id) : require(id);
    } finally {
      process.setSourceMapsEnabled(true);
    }
  };
}

/**
 * @param {string} entry
 * @param {(id: string) => any} load
 * @returns {Promise<import('./kept-bundle.mjs').Bundle>}
 */
async function bundled(entry, load) {
  const esbuild = await import('esbuild');
  /** @type {Map<string, string>} */
  const fileToStamp = new Map();
  for (const tool of ['./program.mjs', './gathered-package.mjs', 'esbuild/package.json'].map((name) => fileURLToPath(import.meta.resolve(name)))) fileToStamp.set(tool, stampOf(tool));
  const { outputFiles } = await esbuild.build({
    ...{ bundle: true, write: false, format: 'cjs', platform: 'node', target: 'node20', keepNames: true, sourcemap: 'inline', sourcesContent: false },
    entryPoints: [entry],
    outfile: join(dirname(entry), 'program.cjs'),
    absWorkingDir: HOME,
    // `import()` becomes a require in a promise: one bundle is one program.
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': '__importMetaUrl', 'import.meta.dirname': '__importMetaDirname' },
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
    plugins: [{ name: 'graft-program', setup: (build) => setUp(build, fileToStamp, load) }],
  });
  return { code: /** @type {import('esbuild').OutputFile} */ (outputFiles[0]).text, inputs: [...fileToStamp] };
}

/**
 * @param {import('esbuild').PluginBuild} build
 * @param {Map<string, string>} fileToStamp of each file, by what was read
 * @param {(id: string) => any} load
 */
function setUp(build, fileToStamp, load) {
  build.onResolve({ filter: /^[^./]/ }, ({ path, kind, namespace }) => {
    if (kind === 'entry-point') return undefined;
    if (path === 'graft') return { path: join(HOME, 'core/index.ts') };
    return WIDE_PACKAGES.includes(path) && namespace === 'file' ? { path, namespace: 'wide' } : { path, external: true };
  });
  build.onLoad({ filter: /.*/, namespace: 'wide' }, ({ path }) => {
    const file = fileURLToPath(import.meta.resolve(path));
    fileToStamp.set(file, stampOf(file));
    const names = Object.keys(load(path));
    const lines = names.map((name, index) => `const n${index} = it[${JSON.stringify(name)}]; export { n${index} as ${name} };\n`);
    return { contents: `const it = require(${JSON.stringify(path)});\n${lines.join('')}`, loader: 'js' };
  });
  build.onLoad({ filter: /.*/, namespace: 'file' }, ({ path }) => {
    const bytes = readFileSync(path);
    fileToStamp.set(path, sha256(bytes));
    const source = bytes.toString('utf8');
    const loader = path.endsWith('.json') ? 'json' : path.endsWith('.ts') ? 'ts' : 'js';
    // Each file knows its own place.
    const place = source.includes('import.meta.') ? `const __importMetaUrl = ${JSON.stringify(pathToFileURL(path).href)}, __importMetaDirname = ${JSON.stringify(dirname(path))}; ` : '';
    return { contents: place + source, loader };
  });
}
