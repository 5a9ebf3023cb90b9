import { builtinModules } from 'node:module';
import { dirname, join, posix } from 'node:path';
import { readManifest } from './house.ts';
import type { House, HouseFile } from './house.ts';
import type { ImportSite } from './imports.ts';
import { runtimeLinesOf } from './imports.ts';

/** Room of core -> rooms that it may import: an arrow only ever points down. */
const ROOM_TO_BELOW: Readonly<Record<string, readonly string[]>> = {
  contracts: [],
  kernel: ['contracts'],
  config: ['kernel', 'contracts'],
  tensor: ['kernel', 'contracts'],
  data: ['tensor', 'kernel', 'contracts'],
  training: ['tensor', 'kernel', 'contracts'],
  run: ['config', 'tensor', 'data', 'kernel', 'contracts'],
  serving: ['run', 'config', 'tensor', 'data', 'kernel', 'contracts'],
  host: ['serving', 'run', 'config', 'tensor', 'data', 'kernel', 'contracts'],
  cli: ['host', 'serving', 'run', 'config', 'tensor', 'data', 'kernel', 'contracts'],
};
/** core/index.ts is the plugins' door to these. */
const BEHIND_THE_DOOR: readonly string[] = ['config', 'training', 'tensor', 'data', 'kernel', 'contracts'];
/** What a microkernel has no business with. */
const NOT_FOR_THE_KERNEL = /^(@tensorflow\/|yaml$|fastify$|@huggingface\/|commander$|(node:)?https?2?$|undici$)/;

const BUILTINS = new Set(builtinModules);

/** Imports between rooms of core that point up or sideways, and libraries that a room has no business with. */
export function roomViolations(house: House): readonly string[] {
  return house.files.flatMap((file) => {
    const room = roomOf(file.path);
    if (room === undefined) return [];
    const below = room === 'index' ? BEHIND_THE_DOOR : ROOM_TO_BELOW[room];
    if (below === undefined) return [`${file.path}: core/${room} is not a room of the house (${Object.keys(ROOM_TO_BELOW).join(', ')})`];
    return file.imports.flatMap((site) => {
      const target = targetOf(file, site);
      if (target === undefined) return room === 'kernel' && NOT_FOR_THE_KERNEL.test(site.specifier) ? [`${at(file, site)} imports '${site.specifier}'; the kernel knows no tensors, YAML or HTTP`] : [];
      const other = roomOf(target);
      // Where kernels and programs are made: plugins are given the door, and a program knows its version.
      if ((room === 'cli' || room === 'host') && (other === 'index' || target === 'package.json')) return [];
      if (other === room || (other !== undefined && below.includes(other))) return [];
      return [`${at(file, site)} imports '${site.specifier}'; core/${room} may import ${below.length === 0 ? 'no other room' : below.join(', ')}`];
    });
  });
}

/** Lines of core/contracts that are not types. */
export function contractViolations(house: House): readonly string[] {
  return house.files
    .filter((file) => file.path.startsWith('core/contracts/'))
    .flatMap((file) => runtimeLinesOf(file.source).map((line) => `${file.path}:${line} is code; core/contracts holds types only`));
}

/** Imports of plugins other than `graft`, their own files, Node's modules and packages that a package.json declares. */
export function pluginViolations(house: House): readonly string[] {
  return house.files.flatMap((file) => {
    const folder = pluginOf(file.path);
    if (folder === undefined) return [];
    const test = file.path.endsWith('.test.ts');
    const declared = new Set([...(test ? house.devPackages : house.packages), ...Object.keys(readManifest(join(house.root, folder))['dependencies'] ?? {})]);
    return file.imports.flatMap((site) => {
      const target = targetOf(file, site);
      if (target === undefined) {
        if (site.specifier === 'graft' || isBuiltin(site.specifier) || declared.has(packageOf(site.specifier))) return [];
        return [`${at(file, site)} imports '${site.specifier}', which no package.json declares`];
      }
      if (target.startsWith(`${folder}/`)) return [];
      if (test && (target.startsWith('test/') || target.startsWith('core/'))) return [];
      return [`${at(file, site)} imports '${site.specifier}'; a plugin imports 'graft', its own files and packages`];
    });
  });
}

/** Packages that core runs on and package.json does not declare for use. */
export function packageViolations(house: House): readonly string[] {
  return house.files
    .filter((file) => file.path.startsWith('core/'))
    .flatMap((file) =>
      file.imports
        .filter((site) => targetOf(file, site) === undefined && !isBuiltin(site.specifier) && !house.packages.has(packageOf(site.specifier)))
        .map((site) => `${at(file, site)} imports '${site.specifier}', which is not among the dependencies of package.json`),
    );
}

/** Circles of files that need each other to run. */
export function cycles(house: House): readonly string[] {
  const pathToTargets = new Map(house.files.map((file) => [file.path, file.imports.filter((site) => !site.typeOnly).flatMap((site) => targetOf(file, site) ?? [])]));
  const found = new Set<string>();
  const done = new Set<string>();
  const visit = (path: string, chain: readonly string[]): void => {
    const start = chain.indexOf(path);
    if (start !== -1) found.add([...chain.slice(start), path].join(' -> '));
    if (start !== -1 || done.has(path)) return;
    for (const target of pathToTargets.get(path) ?? []) visit(target, [...chain, path]);
    done.add(path);
  };
  for (const path of pathToTargets.keys()) visit(path, []);
  return [...found];
}

function at(file: HouseFile, site: ImportSite): string {
  return `${file.path}:${site.line}`;
}

/** The file that a relative import names, from the top of the house. */
function targetOf(file: HouseFile, site: ImportSite): string | undefined {
  return site.specifier.startsWith('.') ? posix.normalize(posix.join(dirname(file.path), site.specifier)) : undefined;
}

/** `core/kernel/slot.ts` is in `kernel`; `core/index.ts` in `index`. */
function roomOf(path: string): string | undefined {
  const [top, room] = path.split('/');
  return top === 'core' ? room?.replace(/\.ts$/, '') : undefined;
}

function pluginOf(path: string): string | undefined {
  return /^plugins\/[^/]+(?=\/)/.exec(path)?.[0];
}

function isBuiltin(specifier: string): boolean {
  return specifier.startsWith('node:') || BUILTINS.has(specifier);
}

/** `ajv` of `ajv/dist/2019.js`, `@huggingface/hub` of `@huggingface/hub`. */
function packageOf(specifier: string): string {
  return specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
}
