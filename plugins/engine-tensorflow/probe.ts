/** Finding out whether TensorFlow's native library runs here, without letting it take this process down. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { EngineProbe } from 'graft';

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
  const tf = require(process.argv[1]);
  const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
  const g = tf.grad((t) => tf.sum(tf.softmax(tf.matMul(t, t, false, true))))(x);
  const values = [...tf.gather(tf.concat([x, g]), [0, 3]).dataSync()];
  if (values.length !== 4 || values[0] !== 1) throw new Error('a trial computation gave ' + values);
  process.stdout.write('\\n' + JSON.stringify({ ok: true, gpu: tf.backend().isUsingGpuDevice === true, version: tf.version['tfjs-node'] ?? tf.version.tfjs }));
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

/** Probes both packages; the first that is available, else the one that says most. */
export async function probePackages(roots: readonly string[], platform = `${process.platform}-${process.arch}`): Promise<PackageProbe> {
  const probes: PackageProbe[] = [];
  for (const name of PACKAGES) {
    const probed = await probePackage(name, roots, platform);
    if (probed.probe.state === 'available') return probed;
    probes.push(probed);
  }
  const present = probes.find(({ dir }) => dir !== undefined);
  if (present !== undefined) return present;
  return probes.find(({ probe }) => probe.state === 'absent') ?? probes[0]!;
}

async function probePackage(name: PackageName, roots: readonly string[], platform: string): Promise<PackageProbe> {
  const found = findPackage(name, roots);
  if (found !== undefined) return { package: name, dir: found.dir, probe: interpret(name, await runTrial(found.dir)) };
  if (!PLATFORMS[name].includes(platform)) {
    return {
      package: name,
      probe: { state: 'unsupported', detail: `TensorFlow publishes no library of ${name} for ${platform}`, remedy: 'Use engine portable on this machine.' },
    };
  }
  return {
    package: name,
    probe: { state: 'absent', detail: 'not installed', remedy: `Run \`npm install @tensorflow/tfjs-node\`, or \`npm install @tensorflow/tfjs-node-gpu\` for an NVIDIA GPU.` },
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

/** Tells the ways apart in which a native package fails, from how the trial ended. */
function interpret(name: PackageName, { stdout, stderr, failure }: Trial): EngineProbe {
  if (failure === undefined) {
    const { gpu, version } = JSON.parse(stdout.slice(stdout.lastIndexOf('\n') + 1)) as { gpu: boolean; version: string };
    return { state: 'available', detail: `${name} ${version} on the ${gpu ? 'GPU' : 'CPU'}`, device: gpu ? 'gpu' : 'cpu' };
  }
  if (failure.timedOut) return broken(`loading ${name} did not end within ${TIMEOUT_MS / 1000} seconds`, `Reinstall it: \`npm rebuild ${name}\`.`);
  if (failure.signal !== null) return broken(`loading ${name} crashed the process (${failure.signal})`, 'Its native library does not fit this machine: use engine portable, or build it from source.');

  const reason = firstLine(stderr);
  if (/native addon module \(tfjs_binding\.node\) can not be found/.test(stderr)) {
    return { state: 'no-native-library', detail: `${name} is installed without its native addon, which its install script downloads`, remedy: `Run \`npm rebuild ${name}\` with access to the network, or \`npm rebuild ${name} --build-addon-from-source\`.` };
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
