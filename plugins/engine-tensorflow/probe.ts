/** Finding out whether TensorFlow's native library runs here, without letting it take this process down. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { EngineProbe } from 'graft';
import { installedHome } from './home.ts';

/** The GPU build also runs on the CPU where there is no GPU. */
export const PACKAGES = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'] as const;
export type PackageName = (typeof PACKAGES)[number];

/** What Google publishes native libraries for. */
const PLATFORMS: Readonly<Record<PackageName, readonly string[]>> = {
  '@tensorflow/tfjs-node-gpu': ['linux-x64', 'win32-x64'],
  '@tensorflow/tfjs-node': ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64', 'win32-x64'],
};

/** Loading a native library, and CUDA with it, may take this long. */
const TIMEOUT_MS = 60_000;

/** Loads the package and computes with it, as a training would: loading alone hides what a newer Node has removed. */
const TRIAL = `
  require('node:util').isNullOrUndefined ??= (value) => value == null;
  const tf = require(process.argv[1]);
  const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
  const g = tf.grad((t) => tf.sum(tf.softmax(tf.matMul(t, t, false, true))))(x);
  const values = [...tf.gather(tf.concat([x, g]), [0, 3]).dataSync()];
  if (values.length !== 4 || values[0] !== 1) throw new Error('a trial computation gave ' + values);
  process.stdout.write('\\n' + JSON.stringify({ ok: true, gpu: tf.backend().isUsingGpuDevice === true, version: tf.version['tfjs-node'] ?? tf.version.tfjs, tensorflow: tf.backend().binding?.TF_Version }));
  process.exit(0);
`;

export interface FoundPackage {
  readonly name: PackageName;
  /** Absolute folder. */
  readonly dir: string;
}

export interface PackageProbe {
  readonly package: PackageName;
  readonly dir?: string;
  readonly probe: EngineProbe;
  /** Version of the TensorFlow beneath it, where it runs. */
  readonly tensorflow?: string;
}

/** Where a package is installed, seen from one of the roots. */
export function findPackage(name: PackageName, roots: readonly string[]): FoundPackage | undefined {
  for (const root of roots) {
    try {
      return { name, dir: dirname(createRequire(join(root, 'package.json')).resolve(`${name}/package.json`)) };
    } catch {
      // Not to be found from this root.
    }
  }
  return undefined;
}

/**
 * Probes every package that the roots have, in their order: the first that computes on a GPU, else the first that is
 * available, else the one that says most.
 */
export async function probePackages(roots: readonly string[], platform = `${process.platform}-${process.arch}`): Promise<PackageProbe> {
  const dirToFound = new Map(roots.flatMap((root) => PACKAGES.flatMap((name) => findPackage(name, [root]) ?? [])).map((found) => [found.dir, found]));
  const probes: PackageProbe[] = [];
  for (const found of dirToFound.values()) {
    const probed = await probePackage(found);
    if (probed.probe.state === 'available' && probed.probe.device === 'gpu') return probed;
    probes.push(probed);
  }
  return probes.find(({ probe }) => probe.state === 'available') ?? probes[0] ?? absent(platform);
}

/** Computes with a package in a process of its own. */
export async function probePackage({ name, dir }: FoundPackage): Promise<PackageProbe> {
  const { probe, tensorflow } = interpret(name, await runTrial(dir));
  const ours = dir.startsWith(installedHome());
  return { package: name, dir, tensorflow, probe: probe.state !== 'available' && ours ? { ...probe, remedy: 'Install it again by `graft engine install tensorflow`, or `graft engine remove tensorflow`.' } : probe };
}

function absent(platform: string): PackageProbe {
  const name = PACKAGES.find((each) => PLATFORMS[each].includes(platform));
  if (name === undefined) {
    return { package: PACKAGES[0], probe: { state: 'unsupported', detail: `TensorFlow publishes no library of tfjs-node for ${platform}`, remedy: 'Use engine portable on this machine.' } };
  }
  const byNpm = '`npm install @tensorflow/tfjs-node`, which downloads TensorFlow 2.9';
  return {
    package: name,
    probe: {
      state: 'absent',
      detail: 'not installed',
      remedy: platform.startsWith('linux') ? `Run \`graft engine install tensorflow\`, which builds it on a current TensorFlow, or ${byNpm}.` : `Run ${byNpm}.`,
    },
  };
}

interface Trial {
  readonly stdout: string;
  readonly stderr: string;
  /** How the child ended when it did not end well. */
  readonly failure?: { readonly signal: string | null; readonly timedOut: boolean };
}

function runTrial(dir: string): Promise<Trial> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['-e', TRIAL, dir],
      { timeout: TIMEOUT_MS, env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' }, maxBuffer: 2 ** 24, windowsHide: true },
      (error, stdout, stderr) => resolve({ stdout, stderr, failure: error === null ? undefined : { signal: error.signal ?? null, timedOut: error.killed === true && child.killed } }),
    );
  });
}

function interpret(name: PackageName, { stdout, stderr, failure }: Trial): Pick<PackageProbe, 'probe' | 'tensorflow'> {
  if (failure !== undefined) return { probe: diagnose(name, stderr, failure) };
  const { gpu, version, tensorflow } = JSON.parse(stdout.slice(stdout.lastIndexOf('\n') + 1)) as { gpu: boolean; version: string; tensorflow?: string };
  const beneath = tensorflow === undefined ? '' : ` with TensorFlow ${tensorflow}`;
  return { tensorflow, probe: { state: 'available', detail: `${name} ${version}${beneath} on the ${gpu ? 'GPU' : 'CPU'}`, device: gpu ? 'gpu' : 'cpu' } };
}

/** Tells the ways apart in which a native package fails, from how the trial ended. */
function diagnose(name: PackageName, stderr: string, failure: NonNullable<Trial['failure']>): EngineProbe {
  if (failure.timedOut) return broken(`loading ${name} did not end within ${TIMEOUT_MS / 1000} seconds`, `Reinstall it: \`npm rebuild ${name}\`.`);
  if (failure.signal !== null) return broken(`loading ${name} crashed the process (${failure.signal})`, 'Its native library does not fit this machine: use engine portable, or build it from source.');

  const reason = firstLine(stderr);
  if (/native addon module \(tfjs_binding\.node\) can not be found/.test(stderr)) {
    return { state: 'no-native-library', detail: `${name} is installed without its native addon, which its install script downloads`, remedy: `Run \`graft engine install tensorflow\`, or \`npm rebuild ${name}\` with access to the network.` };
  }
  const library = /(lib[\w.-]+\.(?:so|dylib)[\w.]*|[\w-]+\.dll): cannot open shared object|Library not loaded: (\S+)|The specified module could not be found/.exec(stderr);
  if (library !== null) {
    return { state: 'no-native-library', detail: `${name} cannot load ${library[1] ?? library[2] ?? 'a library that it needs'}`, remedy: `Run \`npm rebuild ${name}\` with access to the network; it downloads libtensorflow. CUDA's own libraries come with NVIDIA's driver packages.` };
  }
  if (/ERR_DLOPEN_FAILED|NODE_MODULE_VERSION|invalid ELF header|not a valid Win32/.test(stderr)) {
    return broken(`the native addon of ${name} is not made for this machine or this Node (${reason})`, `Run \`npm rebuild ${name} --build-addon-from-source\`.`);
  }
  return broken(`${name} does not run on Node ${process.versions.node} (${reason})`, 'Use Node 20, which it supports, or engine portable.');
}

function broken(detail: string, remedy: string): EngineProbe {
  return { state: 'broken', detail, remedy };
}

/** The line that carries the error's message in what Node prints of an uncaught one. */
function firstLine(stderr: string): string {
  const lines = stderr.split('\n').map((line) => line.trim());
  return lines.find((line) => /^(\w*Error)\b/.test(line)) ?? lines.find((line) => line !== '') ?? 'no message';
}
