/** `graft engine install tensorflow`: tfjs-node on a TensorFlow of one's own, in a folder of Graft's cache. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { GraftError, type EngineInstallCall, type EngineInstaller, type EngineSource, type InstalledEngine } from 'graft';
import { bfloat16Pays } from './bfloat16.ts';
import { compileBinding, findCompiler, installPackage, linkLibrary } from './compile.ts';
import { cudaLibraries, foldersToName } from './cuda.ts';
import { installedHome } from './home.ts';
import { checkVersion, findLibrary, type Library } from './library.ts';
import { probePackage, type FoundPackage, type PackageProbe } from './probe.ts';
import { unpackWheel } from './wheel.ts';

/** What was installed, beside it: `graft engine list` reads it. */
const RECORD = 'installed.json';

export const installer: EngineInstaller = { install, installed, remove };

/** @throws GraftError with the code of the step that failed; what was installed before is then still in its place */
async function install(source: EngineSource, { emit, signal }: EngineInstallCall): Promise<InstalledEngine> {
  const say = (message: string, level: 'info' | 'warn' = 'info'): void => emit({ type: 'log', level, message });
  checkPlatform();
  const given = sourceOf(source);
  const compiler = await findCompiler();
  // Before npm downloads anything.
  if (given.lib !== undefined) check(await findLibrary(given.lib), source.gpu, say);

  const home = installedHome();
  const staging = await newStaging(home);
  try {
    if (given.wheel !== undefined) say(`Unpacking ${basename(given.wheel)}.`);
    const dir = given.lib ?? (await unpackWheel(given.wheel, staging, (done, total) => emit({ type: 'progress', label: 'wheel', done, total, unit: 'bytes' }), signal));
    const library = await findLibrary(dir);
    if (given.wheel !== undefined) check(library, source.gpu, say);

    const name = source.gpu ? '@tensorflow/tfjs-node-gpu' : '@tensorflow/tfjs-node';
    say(`Installing ${name} from npm.`);
    const packageDir = await installPackage(name, staging, signal);
    say(`Compiling its binding with ${compiler.version}.`);
    await linkLibrary(library, packageDir, given.wheel !== undefined);
    await compileBinding(packageDir, library, compiler, signal);
    say('Trying it.');
    const tried = await tryOut({ name, dir: packageDir });
    if (tried.tensorflow !== undefined && checkVersion(tried.tensorflow).untried) say(`TensorFlow ${tried.tensorflow} is newer than those that this was tried with.`, 'warn');

    const facts = await factsOf(library, tried, compiler.version, given.lib);
    // Needed to compile, and a fifth of what a wheel takes up.
    if (given.wheel !== undefined) await rm(library.include, { recursive: true });
    await writeFile(join(staging, RECORD), `${JSON.stringify({ facts }, undefined, 2)}\n`);
    signal.throwIfAborted();
    await swap(staging, home);
    return { dir: home, facts };
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    throw error;
  }
}

async function installed(): Promise<InstalledEngine | undefined> {
  const dir = installedHome();
  const file = join(dir, RECORD);
  if (!existsSync(file)) return undefined;
  return { dir, facts: (JSON.parse(await readFile(file, 'utf8')) as Pick<InstalledEngine, 'facts'>).facts };
}

async function remove(): Promise<string | undefined> {
  const dir = installedHome();
  if (!existsSync(dir)) return undefined;
  await rm(dir, { recursive: true });
  return dir;
}

function checkPlatform(): void {
  if (process.platform === 'linux') return;
  throw new GraftError('INSTALL_PLATFORM', `Graft builds tfjs-node on Linux only, and this is ${process.platform}.`, {
    hint: '`npm install @tensorflow/tfjs-node` downloads what its makers have built for this system, of TensorFlow 2.9.',
  });
}

type Given = { readonly lib: string; readonly wheel?: undefined } | { readonly lib?: undefined; readonly wheel: string };

function sourceOf({ lib, wheel, gpu }: EngineSource): Given {
  if (lib !== undefined && wheel !== undefined) throw new GraftError('USAGE', 'Give one of --lib and --wheel, not both.');
  if (lib !== undefined) return { lib };
  if (wheel !== undefined && existsSync(wheel)) return { wheel };
  if (wheel !== undefined) throw new GraftError('TENSORFLOW_WHEEL', `There is no file ${wheel}.`);
  const pip = gpu ? 'tensorflow' : 'tensorflow-cpu';
  throw new GraftError('USAGE', 'Say which TensorFlow to build on, with --wheel or --lib.', {
    hint: [
      'From a Python wheel (no Python is needed to use it):',
      `  pip download --no-deps ${pip}      # or download the .whl file of ${pip} for Linux in a browser`,
      `  graft engine install tensorflow${gpu ? ' --gpu' : ''} --wheel ${pip.replace('-', '_')}-*.whl`,
      'From a TensorFlow that is there already, such as an environment\'s site-packages/tensorflow:',
      `  graft engine install tensorflow${gpu ? ' --gpu' : ''} --lib .../site-packages/tensorflow`,
      'From the tarball for C (tensorflow.org/install/lang_c): unpack it and give its folder to --lib.',
    ].join('\n'),
  });
}

function check({ version, build }: Library, gpu: boolean, say: (message: string) => void): void {
  if (gpu && build.gpu === false) {
    throw new GraftError('TENSORFLOW_CPU_BUILD', `--gpu was asked for, and this TensorFlow${version === undefined ? '' : ` ${version}`} is built without CUDA.`, { hint: 'Give a build with CUDA, such as the wheel `tensorflow` for Linux, or leave out --gpu.' });
  }
  if (!gpu && build.gpu === true) say('This TensorFlow is built for CUDA: with --gpu the CUDA libraries are looked for and reported.');
}

/** A folder beside the place that it will take, and on the same disk; those that a killed install left are removed. */
async function newStaging(home: string): Promise<string> {
  const parent = dirname(home);
  await mkdir(parent, { recursive: true });
  const prefix = `${basename(home)}.`;
  for (const name of await readdir(parent)) {
    const pid = new RegExp(`^${prefix.replace('.', '\\.')}(?:new|old)-(\\d+)$`).exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(parent, name), { recursive: true, force: true });
  }
  const staging = `${home}.new-${process.pid}`;
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging);
  return staging;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function swap(staging: string, home: string): Promise<void> {
  const old = `${home}.old-${process.pid}`;
  if (!existsSync(home)) return rename(staging, home);
  await rename(home, old);
  try {
    await rename(staging, home);
  } catch (error) {
    await rename(old, home);
    throw error;
  }
  await rm(old, { recursive: true, force: true });
}

/** @throws GraftError `TRIAL_FAILED` with what the probe made of it */
async function tryOut(found: FoundPackage): Promise<PackageProbe> {
  const tried = await probePackage(found);
  if (tried.probe.state === 'available') return tried;
  throw new GraftError('TRIAL_FAILED', `The binding was compiled and does not run: ${tried.probe.detail}.`, { hint: 'Nothing was installed. A TensorFlow for a newer Linux than this one, or for a processor with other instructions, ends like this: try an older one.' });
}

async function factsOf({ build, main }: Library, { package: name, probe, tensorflow }: PackageProbe, compiler: string, lib: string | undefined): Promise<InstalledEngine['facts']> {
  const gpu = probe.state === 'available' && probe.device === 'gpu';
  const builtWith = build.gpu === undefined ? 'with or without CUDA: no file of it says' : build.gpu ? `built with CUDA ${build.cuda ?? '(which one is not said)'} and cuDNN ${build.cudnn ?? '(which one is not said)'}` : 'a build for the CPU, without CUDA and cuDNN';
  const facts: [string, string][] = [
    ['TensorFlow', `${tensorflow ?? 'of unknown version'}, ${builtWith}`],
    ['binding', `${name}, compiled with ${compiler}`],
    ['library', lib === undefined ? 'unpacked into the folder' : `${main} (linked: it must stay there)`],
  ];
  if (name === '@tensorflow/tfjs-node-gpu') {
    const libraries = await cudaLibraries(build, lib === undefined ? [] : [dirname(dirname(main))]);
    facts.push(...libraries.map(({ label, file }): [string, string] => [label, file ?? 'not found']));
    const unnamed = gpu ? [] : await foldersToName(libraries);
    if (unnamed.length > 0) facts.push(['to do', `export LD_LIBRARY_PATH=${unnamed.join(':')} before you start Graft`]);
  }
  const where = gpu ? 'the GPU' : build.gpu === true ? 'the CPU: TensorFlow finds no GPU that it can use' : 'the CPU';
  facts.push(['computes on', where], ['bfloat16', bfloat16Pays(gpu) ? 'weights kept as bf16 are multiplied in bfloat16' : 'this processor has no instructions for it: weights are kept in float32']);
  return facts;
}
