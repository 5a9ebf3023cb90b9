import { Module, createRequire } from 'node:module';
import { types } from 'node:util';
import type * as Tsyringe from 'tsyringe';
import { IMPORTED, type Build } from './builder.ts';
import { GraftError, reasonOf } from './errors.ts';

/** With what Node does to run a CommonJS file, which is not in its types. */
type CompilableModule = NodeModule & { _compile(code: string, filename: string): void };

/**
 * Runs a bundle as a CommonJS module that nothing else refers to, so that the collector can take it once its generation
 * is gone; an ES module could never be unloaded.
 *
 * Packages of the host come from `hostModules`, one instance in the process; all others from the plugin's own folder.
 * @returns its default export
 */
export function evaluate(build: Build, hostModules: Readonly<Record<string, unknown>>, tsyringe: typeof Tsyringe): unknown {
  process.setSourceMapsEnabled(true);
  const module = new Module(build.filename) as CompilableModule;
  module.filename = build.filename;
  const load = (name: string): unknown => (name === 'tsyringe' ? tsyringe : Object.hasOwn(hostModules, name) ? hostModules[name] : requirePackage(name, build));
  module.require = ((id: string) => (id.startsWith(IMPORTED) ? asImported(load(id.slice(IMPORTED.length))) : load(id))) as NodeModule['require'];
  module._compile(build.code, build.filename);
  const exported = module.exports as { readonly default?: unknown } | null | undefined;
  return exported?.default ?? exported;
}

/** From the plugin's own folder and those above it; else what is installed beside Graft. */
function requirePackage(name: string, { filename, dir }: Build): unknown {
  const require = createRequire(filename);
  // Node would read and parse the package's source maps, megabytes for some, and nobody asks for a line in them.
  process.setSourceMapsEnabled(false);
  try {
    return require(require.resolve(name, { paths: [dir, import.meta.dirname] }));
  } catch (error) {
    if (!reasonOf(error).startsWith(`Cannot find module '${name}'`)) throw error;
    throw new GraftError('PACKAGE_MISSING', `the package ${name} is not installed, neither in ${dir} nor in a folder above it nor beside Graft`, { cause: error });
  } finally {
    process.setSourceMapsEnabled(true);
  }
}

const loadedToImported = new WeakMap<object, object>();

/**
 * A package as Node's `import` shows it, told in the convention that esbuild's bundles go by (`__esModule`): the default
 * of a CommonJS package is its `module.exports`, that of an ES module its own.
 */
function asImported(loaded: unknown): unknown {
  if (typeof loaded !== 'function' && (typeof loaded !== 'object' || loaded === null)) return loaded;
  const namespace = types.isModuleNamespaceObject(loaded);
  const marked = '__esModule' in loaded && Boolean(loaded.__esModule);
  if (namespace ? marked || !('default' in loaded) : !marked) return loaded;
  let imported = loadedToImported.get(loaded);
  if (imported === undefined) loadedToImported.set(loaded, (imported = { ...loaded, ...(namespace ? {} : { default: loaded }), __esModule: true }));
  return imported;
}
