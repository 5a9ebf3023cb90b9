/** tfjs-node from npm, with its binding compiled against a TensorFlow of one's own. */
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { GraftError } from 'graft';
import { lastLines, runCommand } from './commands.ts';
import type { Library } from './library.ts';
import type { PackageName } from './probe.ts';

/** The last release; its binding asks for no more than Node-API 8. */
const TFJS_NODE = '4.22.0';
const NAPI_VERSION = 8;
/** Node-API's headers by the Node project, so that none of the machine's own are needed. */
const HEADERS = 'node-api-headers@1';

export interface Compiler {
  readonly command: string;
  /** Its first line about itself: `g++ (Debian 12.2.0-14) 12.2.0`. */
  readonly version: string;
}

/** @throws GraftError `NO_COMPILER` */
export async function findCompiler(): Promise<Compiler> {
  const named = process.env['CXX'];
  const candidates = named === undefined || named === '' ? ['g++', 'clang++', 'c++'] : [named];
  for (const command of candidates) {
    const { code, output } = await runCommand(command, ['--version']);
    if (code === 0) return { command, version: output.split('\n')[0]!.trim() };
  }
  throw new GraftError('NO_COMPILER', `There is no C++ compiler: ${candidates.join(', ')} ${candidates.length === 1 ? 'does' : 'do'} not run.`, {
    hint: 'Install one (Debian and Ubuntu: `apt-get install g++`; Fedora: `dnf install gcc-c++`), or name yours in CXX.',
  });
}

/**
 * Installs the package into a folder without running its scripts, which would download another TensorFlow.
 * @returns the package's absolute folder
 * @throws GraftError `NPM_FAILED` with what npm said
 */
export async function installPackage(name: PackageName, into: string, signal: AbortSignal): Promise<string> {
  // With a package.json of its own npm looks no further up.
  await writeFile(join(into, 'package.json'), '{ "name": "graft-engine", "private": true }\n');
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error', '--prefix', into, `${name}@${TFJS_NODE}`, HEADERS];
  const { code, output } = await runCommand('npm', args, { cwd: into, signal });
  if (code === undefined) throw new GraftError('NPM_FAILED', 'There is no command npm, which comes with Node.', { hint: 'Install npm, or put it on the PATH.' });
  if (code !== 0) throw new GraftError('NPM_FAILED', `npm could not install ${name}@${TFJS_NODE}.`, { hint: lastLines(output) });
  return join(into, 'node_modules', name);
}

/** Gives a package the library under the names that its binding links to and the linker looks for. */
export async function linkLibrary({ main, framework }: Library, packageDir: string, relocatable: boolean): Promise<void> {
  const lib = join(packageDir, 'deps', 'lib');
  await mkdir(lib, { recursive: true });
  const target = (file: string): string => (relocatable ? relative(lib, file) : file);
  const folders = [...new Set([dirname(main), dirname(framework)])];
  const files = (await Promise.all(folders.map(async (folder) => (await readdir(folder)).map((name) => join(folder, name))))).flat();
  const nameToFile = new Map(files.filter((file) => /^libtensorflow(?:_cc|_framework)?\.so/.test(basename(file))).map((file) => [basename(file), file]));
  nameToFile.set('libtensorflow.so', main).set('libtensorflow_framework.so', framework);
  for (const [name, file] of nameToFile) await symlink(target(file), join(lib, name));
}

/**
 * Compiles the binding as its binding.gyp would, without Python and node-gyp.
 * @throws GraftError `COMPILE_FAILED` with the compiler's words
 */
export async function compileBinding(packageDir: string, { include }: Library, { command }: Compiler, signal: AbortSignal): Promise<void> {
  const out = join(packageDir, 'lib', `napi-v${NAPI_VERSION}`);
  await mkdir(out, { recursive: true });
  const headers = join(packageDir, '..', '..', 'node-api-headers', 'include');
  const args = [
    ...['-std=c++17', '-O2', '-fPIC', '-shared', `-DNAPI_VERSION=${NAPI_VERSION}`],
    ...['-isystem', headers, '-isystem', include],
    ...['binding/tfjs_backend.cc', 'binding/tfjs_binding.cc', '-o', join(out, 'tfjs_binding.node')],
    ...['-Ldeps/lib', '-ltensorflow', '-ltensorflow_framework', '-Wl,-rpath,$ORIGIN/../../deps/lib'],
  ];
  const { code, output } = await runCommand(command, args, { cwd: packageDir, signal });
  if (code !== 0) throw new GraftError('COMPILE_FAILED', `${command} could not compile the binding against ${include}.`, { hint: lastLines(output.split('\n').filter((line) => /error|undefined/i.test(line)).join('\n') || output) });
}
