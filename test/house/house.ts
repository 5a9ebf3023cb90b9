import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import type ts from 'typescript';
import { importsOf, parse } from './imports.ts';
import type { ImportSite } from './imports.ts';

/** A source file of the house, parsed once. */
export interface HouseFile {
  /** From the top of the house, with forward slashes: `core/kernel/slot.ts`. */
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  readonly source: ts.SourceFile;
  readonly imports: readonly ImportSite[];
}

/** The checkout, or a folder that looks like one: what the rules are applied to. */
export interface House {
  readonly root: string;
  /** TypeScript and JavaScript files under core, plugins and test. */
  readonly files: readonly HouseFile[];
  /** What lies at the top, dotfiles and what git ignores left out. */
  readonly top: readonly string[];
  /** Packages that package.json names as dependencies. */
  readonly packages: ReadonlySet<string>;
  /** The same with those that only development needs. */
  readonly devPackages: ReadonlySet<string>;
}

const UNTRACKED = new Set(['node_modules', 'build', 'runs', 'fixtures']);

export function readHouse(root: string): House {
  const files = ['core', 'plugins', 'test'].flatMap((folder) => filesUnder(join(root, folder)));
  const manifest = readManifest(root);
  const packages = new Set(['dependencies', 'optionalDependencies', 'peerDependencies'].flatMap((key) => Object.keys(manifest[key] ?? {})));
  return {
    root,
    files: files.filter((file) => /\.(ts|mts|cts|js|mjs|cjs)$/.test(file)).map((file) => readHouseFile(root, file)),
    top: readdirSync(root).filter((name) => !name.startsWith('.') && !UNTRACKED.has(name)),
    packages,
    devPackages: new Set([...packages, ...Object.keys(manifest['devDependencies'] ?? {})]),
  };
}

export type Manifest = Readonly<Record<string, Readonly<Record<string, string>> | undefined>>;

export function readManifest(folder: string): Manifest {
  const file = join(folder, 'package.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Manifest) : {};
}

function readHouseFile(root: string, file: string): HouseFile {
  const text = readFileSync(file, 'utf8');
  const source = parse(file, text);
  return { path: relative(root, file).split(sep).join('/'), text, lines: text.replace(/\n$/, '').split('\n').length, source, imports: importsOf(source) };
}

function filesUnder(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !UNTRACKED.has(entry.name) && !entry.name.startsWith('.'))
    .flatMap((entry) => (entry.isDirectory() ? filesUnder(join(folder, entry.name)) : [join(folder, entry.name)]));
}
