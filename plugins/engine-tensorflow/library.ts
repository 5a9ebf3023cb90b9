/** Finding a TensorFlow that tfjs-node's binding can be compiled against: a library and its C headers. */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { GraftError } from 'graft';
import { cudaBuildOf, type CudaBuild } from './cuda.ts';
import { architectureOf } from './elf.ts';

/** A TensorFlow on disk. */
export interface Library {
  /** Absolute folder of `tensorflow/c/c_api.h`. */
  readonly include: string;
  /** Absolute: libtensorflow_cc.so.2 of a wheel, libtensorflow.so.2 of the tarball. */
  readonly main: string;
  /** Absolute: libtensorflow_framework.so.2. */
  readonly framework: string;
  /** As its files say; the library itself is asked once the binding stands on it. */
  readonly version?: string;
  readonly build: CudaBuild;
}

/** The binding is written for TensorFlow 2.9, and was tried up to here. */
const OLDEST = [2, 9] as const;
const NEWEST_TRIED = [2, 21] as const;

const MAIN = ['libtensorflow_cc.so.2', 'libtensorflow.so.2', 'libtensorflow_cc.so', 'libtensorflow.so'];
const FRAMEWORK = ['libtensorflow_framework.so.2', 'libtensorflow_framework.so'];
const C_API = join('tensorflow', 'c', 'c_api.h');
const DIST_INFO = /^(?:tensorflow|tf_nightly)(?:_(?:cpu|gpu|rocm|intel|cpu_aws))?-(\d[^-]*)\.dist-info$/;

/**
 * Looks for a library and headers in the tarball's layout (`lib/`, `include/`) or a wheel's (`tensorflow/`).
 * @param dir absolute
 * @throws GraftError `TENSORFLOW_LIB` saying which part is missing, `TENSORFLOW_ARCH`, `TENSORFLOW_VERSION`
 */
export async function findLibrary(dir: string): Promise<Library> {
  if (!existsSync(dir)) throw new GraftError('TENSORFLOW_LIB', `There is no folder ${dir}.`);
  const roots = [dir, join(dir, 'tensorflow')];
  const folders = roots.flatMap((root) => [root, join(root, 'lib')]).filter(existsSync);
  const holder = folders.find((folder) => fileOf(folder, MAIN) !== undefined);
  if (holder === undefined) throw noLibrary(dir, folders);
  const main = fileOf(holder, MAIN)!;
  const framework = fileOf(holder, FRAMEWORK);
  if (framework === undefined) throw new GraftError('TENSORFLOW_LIB', `${holder} has ${basename(main)} and no ${FRAMEWORK[0]}, which it needs.`);

  const include = [holder, dirname(holder)].map((folder) => join(folder, 'include')).find((folder) => existsSync(join(folder, C_API)));
  if (include === undefined) {
    throw new GraftError('TENSORFLOW_LIB', `${dir} has ${basename(main)} and no headers: include/${C_API} is missing.`, { hint: 'Give the folder that has both: `tensorflow/` of an unpacked wheel, or the folder that the official tarball was unpacked into.' });
  }

  const arch = await architectureOf(main);
  if (arch !== process.arch) {
    throw new GraftError('TENSORFLOW_ARCH', arch === undefined ? `${main} is not a Linux library.` : `${main} is made for ${arch}, and this Node runs on ${process.arch}.`, { hint: `Get the TensorFlow for linux-${process.arch}.` });
  }
  const version = versionOf(holder, include, main);
  if (version !== undefined) checkVersion(version);
  return { include, main, framework, version, build: cudaBuildOf(holder, include) };
}

function fileOf(folder: string, names: readonly string[]): string | undefined {
  return names.map((name) => join(folder, name)).find(existsSync);
}

function noLibrary(dir: string, folders: readonly string[]): GraftError {
  const others = folders.flatMap((folder) => readdirSync(folder)).filter((name) => /^(?:lib)?tensorflow(?:_cc)?\.(?:so|dylib|dll)/.test(name));
  if (others.length === 0) return new GraftError('TENSORFLOW_LIB', `There is neither ${MAIN[0]} nor ${MAIN[1]} in ${dir} or its lib/.`, { hint: 'Give the folder that has the library and include/: `tensorflow/` of an unpacked wheel, or the folder that the official tarball was unpacked into.' });
  return new GraftError('TENSORFLOW_VERSION', `${dir} has ${others.join(', ')}; tfjs-node's binding is written for TensorFlow 2 on Linux, whose library is named ${MAIN[0]} or ${MAIN[1]}.`);
}

/** A wheel's metadata beside the folder; the tarball's file name, `libtensorflow.so.2.18.0`; older headers. */
function versionOf(holder: string, include: string, main: string): string | undefined {
  const beside = readdirSync(dirname(holder)).map((name) => DIST_INFO.exec(name)?.[1]).find((version) => version !== undefined);
  const named = /\.so\.(\d+\.\d+\.\d+)$/.exec(realpathSync(main))?.[1];
  return beside ?? named ?? versionInHeader(join(include, 'tensorflow', 'core', 'public', 'version.h'));
}

function versionInHeader(file: string): string | undefined {
  if (!existsSync(file)) return undefined;
  const text = readFileSync(file, 'utf8');
  const parts = ['MAJOR', 'MINOR', 'PATCH'].map((part) => new RegExp(`^#define TF_${part}_VERSION (\\d+)`, 'm').exec(text)?.[1]);
  return parts.includes(undefined) ? undefined : parts.join('.');
}

/**
 * @returns whether it is newer than what was tried
 * @throws GraftError `TENSORFLOW_VERSION` for one that the binding is not written for
 */
export function checkVersion(version: string): { readonly untried: boolean } {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const number = major * 1000 + minor;
  if (major !== OLDEST[0] || number < OLDEST[0] * 1000 + OLDEST[1]) {
    throw new GraftError('TENSORFLOW_VERSION', `This is TensorFlow ${version}; tfjs-node's binding needs ${OLDEST.join('.')} or a later 2.x.`, { hint: `It was tried with ${NEWEST_TRIED.join('.')}.` });
  }
  return { untried: number > NEWEST_TRIED[0] * 1000 + NEWEST_TRIED[1] };
}
