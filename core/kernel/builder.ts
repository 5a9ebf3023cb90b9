import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join, relative, resolve, sep } from 'node:path';
import type * as esbuild from 'esbuild';
import type { BuildCache, KeptBuild, PluginFolder } from '../contracts/index.ts';
import { GraftError, reasonOf } from './errors.ts';

/** `filename` is where the bundle would lie if it were written: stack traces and `require` go by it. */
export type Build = PluginFolder & KeptBuild & { readonly filename: string; readonly ms: number };

/** Marks a `require` that stands for an ES import, which sees a CommonJS package differently than `require` does. */
export const IMPORTED = 'import:';

const extensionToLoader: Readonly<Record<string, esbuild.Loader>> = { '.ts': 'ts', '.mts': 'ts', '.cts': 'ts', '.js': 'js', '.mjs': 'js', '.cjs': 'js', '.json': 'json', '.txt': 'text', '.html': 'text' };

/** A decorator at the start of a line or of a parameter. Seeing one in a comment costs a few milliseconds and no more. */
const DECORATOR = /(?:^|[(,;{}]|\bexport|\bdefault)[ \t]*@[A-Za-z_$]/m;

/**
 * Bundles a plugin's own files; packages stay outside and are resolved from its folder when it runs.
 * `import.meta.url` and `import.meta.dirname` are those of a file in the plugin's folder itself.
 * @param cache what it gives back is taken where nothing that it was made of has changed
 * @throws GraftError `PLUGIN_BUILD` with file:line:column of each mistake
 */
export async function buildPlugin(folder: PluginFolder, cache?: BuildCache): Promise<Build> {
  const began = performance.now();
  const kept = cache?.read(folder.entry);
  const made = kept !== undefined && isUnchanged(folder, kept) ? kept : await bundle(folder);
  if (made !== kept) cache?.write(folder.entry, made);
  return { ...folder, ...made, filename: join(folder.dir, `.graft-${made.hash.slice(0, 12)}.cjs`), ms: performance.now() - began };
}

async function bundle(folder: PluginFolder): Promise<KeptBuild> {
  const fileToBytes = new Map<string, Buffer>();
  const imports: [string, string, string][] = [];
  // Loaded when there is something to build: most processes find all of it built.
  const { build } = await import('esbuild');
  const result = await build({
    ...{ bundle: true, write: false, format: 'cjs', platform: 'node', target: 'node20', sourcemap: 'inline', sourcesContent: false, keepNames: true, logLevel: 'silent' },
    entryPoints: [folder.entry],
    outfile: join(folder.dir, 'bundle.cjs'),
    absWorkingDir: folder.dir,
    // `import()` becomes a require in a promise, so that host packages and the plugin's own are found as everywhere else.
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': '__importMetaUrl', 'import.meta.dirname': '__dirname', 'import.meta.filename': '__filename' },
    banner: { js: 'const __importMetaUrl = require("node:url").pathToFileURL(__filename).href;' },
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
    plugins: [ownFiles(folder, fileToBytes, imports)],
  }).catch((error: unknown) => {
    throw new GraftError('PLUGIN_BUILD', `${folder.id} does not build: ${mistakes(error, folder.dir)}`, { cause: error });
  });
  return { code: result.outputFiles[0]!.text, hash: hashOf(folder, fileToBytes), files: [...fileToBytes.keys()], imports };
}

function hashOf({ dir, source }: PluginFolder, fileToBytes: ReadonlyMap<string, Buffer>): string {
  const hash = createHash('sha256').update(source);
  for (const [file, bytes] of [...fileToBytes].sort(([a], [b]) => (a < b ? -1 : 1))) hash.update(`\0${relative(dir, file)}\0`).update(bytes);
  return hash.digest('hex');
}

/** Whether building would come to the same: every import means the same file, and every file holds the same. */
function isUnchanged(folder: PluginFolder, { hash, files, imports }: KeptBuild): boolean {
  const isSame = imports.every(([dir, path, file]) => find(dir, path) === file) && files.every(isFile);
  return isSame && hashOf(folder, new Map(files.map((file) => [file, readFileSync(file)]))) === hash;
}

/**
 * Resolves relative imports within the plugin's folder and leaves everything else to the run time. Resolving them here
 * rather than in esbuild also keeps esbuild from its Node mode, in which the default import of an ES module is wrong.
 */
function ownFiles(folder: PluginFolder, fileToBytes: Map<string, Buffer>, imports: [string, string, string][]): esbuild.Plugin {
  return {
    name: 'graft-own-files',
    setup(build) {
      build.onResolve({ filter: /.*/ }, ({ path, kind, resolveDir }) => {
        if (kind === 'entry-point') return { path };
        // esbuild finds those by package.json; what it looks at on the way is not known, so the build is not kept.
        if (path.startsWith('#')) return void imports.push([resolveDir, path, '']);
        if (!/^\.{0,2}\/|^\.\.?$/.test(path)) return { path: kind === 'require-call' || kind === 'require-resolve' ? path : IMPORTED + path, external: true };
        const wanted = resolve(resolveDir, path);
        if (wanted !== folder.dir && !wanted.startsWith(folder.dir + sep)) return { errors: [{ text: `${path} lies outside the plugin's folder. A plugin imports its own files, "graft" and packages.` }] };
        const file = find(resolveDir, path);
        if (file === undefined) return { errors: [{ text: `There is no file ${path}.` }] };
        imports.push([resolveDir, path, file]);
        return { path: file };
      });
      build.onLoad({ filter: /.*/, namespace: 'file' }, async ({ path }) => {
        const bytes = await readFile(path);
        fileToBytes.set(path, bytes);
        const loader = extensionToLoader[extname(path)];
        if (loader === undefined) return { errors: [{ text: `A plugin cannot import files of the type ${extname(path) || 'without an extension'}.` }] };
        const source = bytes.toString('utf8');
        if ((loader !== 'ts' && loader !== 'js') || !DECORATOR.test(source)) return { contents: source, loader };
        return { contents: await compileDecorators(source, path, loader === 'ts' ? 'typescript' : 'ecmascript'), loader: 'js' };
      });
    },
  };
}

/** The file that a relative import means, tried in TypeScript's order: `./a.js` may be written for `./a.ts`. */
function find(dir: string, path: string): string | undefined {
  const wanted = resolve(dir, path);
  const twin = wanted.replace(/\.([mc]?)js$/, '.$1ts');
  return [wanted, twin, ...['.ts', '.mts', '.js', '.mjs', '.cjs', '.json'].flatMap((extension) => [wanted + extension, join(wanted, `index${extension}`)])].find(isFile);
}

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;

/** esbuild knows no decorator metadata, which injection by type lives on; swc does. */
async function compileDecorators(source: string, filename: string, syntax: 'typescript' | 'ecmascript'): Promise<string> {
  const swc = await import('@swc/core');
  const transform = { legacyDecorator: true, decoratorMetadata: true };
  const jsc = { target: 'es2022', keepClassNames: true, parser: { syntax, decorators: true }, transform } as const;
  return (await swc.transform(source, { filename, configFile: false, swcrc: false, sourceMaps: 'inline', module: { type: 'es6' }, jsc })).code;
}

function mistakes(error: unknown, dir: string): string {
  const { errors = [] } = error as Partial<esbuild.BuildFailure>;
  const sentences = errors.map(({ text, location }) => {
    const place = location === null ? '' : `${resolve(dir, location.file)}:${location.line}:${location.column + 1}: `;
    return place + (text.startsWith('Top-level await') ? 'A plugin may not await at its top level; do it in setup, which may be asynchronous.' : text);
  });
  return sentences.length > 0 ? sentences.join('; ') : reasonOf(error);
}
