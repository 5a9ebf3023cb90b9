import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bfloat16Pays } from './bfloat16.ts';
import { cudaBuildOf, cudaLibraries, foldersToName } from './cuda.ts';
import { architectureOf } from './elf.ts';
import { installer } from './install.ts';
import { checkVersion, findLibrary } from './library.ts';
import { unpackWheel } from './wheel.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'graft-library-'));
});
afterEach(() => {
  rmSync(root, { recursive: true });
  vi.unstubAllEnvs();
});

const MACHINES = { x64: 0x3e, arm64: 0xb7 } as const;
const here = process.arch as keyof typeof MACHINES;
const other = here === 'x64' ? 'arm64' : 'x64';

/** The first bytes of a shared library, which are all that is looked at before it is loaded. */
function elf(arch: keyof typeof MACHINES = here): Buffer {
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(3, 16);
  header.writeUInt16LE(MACHINES[arch], 18);
  return header;
}

function files(contents: Readonly<Record<string, string | Buffer>>, dir = root): string {
  for (const [path, content] of Object.entries(contents)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content);
  }
  return dir;
}

const HEADER = { 'include/tensorflow/c/c_api.h': '' };
const WHEEL_LIBRARIES = { 'libtensorflow_cc.so.2': elf(), 'libtensorflow_framework.so.2': elf() };
const CPU_BUILD = "build_info = collections.OrderedDict([('is_cuda_build', False), ('is_rocm_build', False)])";
const GPU_BUILD = "build_info = collections.OrderedDict([('cpu_compiler', '/usr/lib/llvm-18/bin/clang'), ('cuda_version', '12.5.1'), ('cudnn_version', '9'), ('is_cuda_build', True)])";

describe('a TensorFlow on disk', () => {
  it('is found in what a wheel unpacks to, with the version and the build that it tells of', async () => {
    const dir = files({ ...WHEEL_LIBRARIES, ...HEADER, 'python/platform/build_info.py': CPU_BUILD }, join(root, 'tensorflow'));
    mkdirSync(join(root, 'tensorflow_estimator-2.15.0.dist-info'));
    mkdirSync(join(root, 'tensorflow_cpu-2.21.0.dist-info'));
    const found = { include: join(dir, 'include'), main: join(dir, 'libtensorflow_cc.so.2'), framework: join(dir, 'libtensorflow_framework.so.2'), version: '2.21.0', build: { gpu: false } };
    expect(await findLibrary(dir)).toEqual(found);
    expect(await findLibrary(root)).toEqual(found);
  });

  it('is found in the tarball\'s layout, whose file name has the version', async () => {
    files({ ...HEADER, 'lib/libtensorflow.so.2.18.0': elf(), 'lib/libtensorflow_framework.so.2': elf() });
    symlinkSync('libtensorflow.so.2.18.0', join(root, 'lib/libtensorflow.so.2'));
    expect(await findLibrary(root)).toEqual({ include: join(root, 'include'), main: join(root, 'lib/libtensorflow.so.2'), framework: join(root, 'lib/libtensorflow_framework.so.2'), version: '2.18.0', build: {} });
  });

  it.each([
    ['is not there', {}, 'nowhere', 'TENSORFLOW_LIB', /^There is no folder .*nowhere\.$/],
    ['has no library', HEADER, '', 'TENSORFLOW_LIB', /^There is neither libtensorflow_cc\.so\.2 nor libtensorflow\.so\.2 in /],
    ['has no headers', WHEEL_LIBRARIES, '', 'TENSORFLOW_LIB', /has libtensorflow_cc\.so\.2 and no headers: include\/tensorflow\/c\/c_api\.h is missing\.$/],
    ['has half of the library', { ...HEADER, 'libtensorflow_cc.so.2': elf() }, '', 'TENSORFLOW_LIB', /has libtensorflow_cc\.so\.2 and no libtensorflow_framework\.so\.2, which it needs\.$/],
    ['is of another processor', { ...HEADER, ...WHEEL_LIBRARIES, 'libtensorflow_cc.so.2': elf(other) }, '', 'TENSORFLOW_ARCH', new RegExp(`is made for ${other}, and this Node runs on ${here}\\.$`)],
    ['is of another system', { ...HEADER, ...WHEEL_LIBRARIES, 'libtensorflow_cc.so.2': Buffer.alloc(64) }, '', 'TENSORFLOW_ARCH', /is not a Linux library\.$/],
    ['is a later TensorFlow', { ...HEADER, 'libtensorflow_cc.so.3': elf() }, '', 'TENSORFLOW_VERSION', /has libtensorflow_cc\.so\.3; tfjs-node's binding is written for TensorFlow 2 /],
    ['is too old', { ...HEADER, ...WHEEL_LIBRARIES, 'include/tensorflow/core/public/version.h': '#define TF_MAJOR_VERSION 2\n#define TF_MINOR_VERSION 4\n#define TF_PATCH_VERSION 1\n' }, '', 'TENSORFLOW_VERSION', /^This is TensorFlow 2\.4\.1; tfjs-node's binding needs 2\.9 or a later 2\.x\.$/],
  ])('is refused where it %s', async (_, contents, dir, code, message) => {
    files(contents as Record<string, Buffer>);
    await expect(findLibrary(join(root, dir))).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  });

  it('may be newer than what was tried', () => {
    expect(checkVersion('2.21.0')).toEqual({ untried: false });
    expect(checkVersion('2.22.0-rc1')).toEqual({ untried: true });
    expect(() => checkVersion('3.0.0')).toThrow("This is TensorFlow 3.0.0; tfjs-node's binding needs 2.9 or a later 2.x.");
  });

  it('says which processor it is for', async () => {
    files({ lib: elf('arm64'), short: 'x' });
    expect([await architectureOf(join(root, 'lib')), await architectureOf(join(root, 'short'))]).toEqual(['arm64', undefined]);
  });
});

describe('CUDA', () => {
  it('is read from the build\'s own account of itself', () => {
    files({ 'python/platform/build_info.py': GPU_BUILD });
    expect(cudaBuildOf(root, join(root, 'include'))).toEqual({ gpu: true, cuda: '12.5.1', cudnn: '9' });
  });

  it('is read from the headers where there is none', () => {
    const header = (version: string): string => `#define TF_CUDA_VERSION "${version}"\n#define TF_CUDNN_VERSION "${version === '' ? '' : '8'}"\n`;
    files({ 'gpu/third_party/gpus/cuda/cuda_config.h': header('11.8'), 'cpu/third_party/gpus/cuda/cuda_config.h': header('') });
    expect(cudaBuildOf(root, join(root, 'gpu'))).toEqual({ gpu: true, cuda: '11.8', cudnn: '8' });
    expect(cudaBuildOf(root, join(root, 'cpu'))).toEqual({ gpu: false, cuda: undefined, cudnn: undefined });
  });

  it('is looked for in the major version that the build asks for, in the folders of wheels too', async () => {
    files({ 'nvidia/cudnn/lib/libcudnn.so.8': '', 'nvidia/cudnn/lib/libcudnn.so.9': '', 'nvidia/cuda_runtime/lib/libcudart.so.12': '' });
    const libraries = await cudaLibraries({ gpu: true, cuda: '12.5.1', cudnn: '9' }, [root]);
    expect(libraries.map(({ label }) => label)).toEqual(['NVIDIA driver', 'CUDA runtime 12', 'cuBLAS 12', 'cuDNN 9']);
    const named = new Map(libraries.map(({ label, file }) => [label, file]));
    expect(named.get('cuDNN 9')).toBe(join(root, 'nvidia/cudnn/lib/libcudnn.so.9'));
    expect(await foldersToName(libraries)).toEqual(expect.arrayContaining([join(root, 'nvidia/cuda_runtime/lib'), join(root, 'nvidia/cudnn/lib')]));
    vi.stubEnv('LD_LIBRARY_PATH', join(root, 'nvidia/cudnn/lib'));
    expect(await foldersToName(libraries)).not.toContain(join(root, 'nvidia/cudnn/lib'));
  });
});

describe('bfloat16', () => {
  it('is used where the processor multiplies it, and on a GPU', () => {
    files({ fast: 'flags\t\t: fpu avx512f avx512_bf16 sse\n', slow: 'model name: bf16\nflags\t\t: fpu avx512f sse\n', arm: 'Features\t: fp asimd bf16\n' });
    expect(['fast', 'slow', 'arm', 'none'].map((name) => bfloat16Pays(false, join(root, name)))).toEqual([true, false, true, false]);
    expect(bfloat16Pays(true, join(root, 'none'))).toBe(true);
  });
});

/** A zip file whose entries are stored as they are. */
function zip(contents: Readonly<Record<string, string | Buffer>>): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(contents)) {
    const [path, data] = [Buffer.from(name), Buffer.from(content)];
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(path.length, 22);
    const end = Buffer.alloc(14);
    end.writeUInt32LE(offset, 10);
    locals.push(Buffer.from('PK\x03\x04', 'latin1'), common, path, data);
    directory.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, end, path);
    offset += 30 + path.length + data.length;
  }
  const count = Object.keys(contents).length;
  const tail = Buffer.alloc(22);
  tail.write('PK\x05\x06', 'latin1');
  tail.writeUInt16LE(count, 8);
  tail.writeUInt16LE(count, 10);
  tail.writeUInt32LE(Buffer.concat(directory).length, 12);
  tail.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, ...directory, tail]);
}

describe('a wheel', () => {
  const unpack = (contents: Buffer, progress = (_done: number, _total: number) => {}): Promise<string> => {
    files({ 'a.whl': contents });
    return unpackWheel(join(root, 'a.whl'), join(root, 'out'), progress, new AbortController().signal);
  };

  it('gives the library, the headers and what tells of the build, and nothing else', async () => {
    const told: number[][] = [];
    const wheel = { 'tensorflow/libtensorflow_cc.so.2': 'cc', 'tensorflow/include/tensorflow/c/c_api.h': 'c', 'tensorflow/python/platform/build_info.py': 'py', 'tensorflow/python/other.so': 'no', 'tensorflow_cpu-2.21.0.dist-info/METADATA': 'm' };
    const dir = await unpack(zip(wheel), (...progress) => told.push(progress));
    expect(dir).toBe(join(root, 'out', 'tensorflow'));
    expect(readFileSync(join(dir, 'libtensorflow_cc.so.2'), 'utf8')).toBe('cc');
    expect(existsSync(join(root, 'out', 'tensorflow_cpu-2.21.0.dist-info', 'METADATA'))).toBe(true);
    expect(existsSync(join(dir, 'python', 'other.so'))).toBe(false);
    expect(told.at(-1)).toEqual([6, 6]);
  });

  it('is refused without the library', async () => {
    await expect(unpack(zip({ 'tensorflow/__init__.py': '' }))).rejects.toMatchObject({ code: 'TENSORFLOW_WHEEL', message: 'a.whl has no libtensorflow_cc.so.2 in it.' });
  });

  it('is refused where the file is no zip, or only the beginning of one', async () => {
    await expect(unpack(Buffer.from('<html>'))).rejects.toMatchObject({ code: 'TENSORFLOW_WHEEL', message: expect.stringMatching(/a\.whl cannot be read as a wheel: /) as string });
    const whole = zip({ 'tensorflow/libtensorflow_cc.so.2': 'x'.repeat(1000) });
    await expect(unpack(whole.subarray(0, 500))).rejects.toMatchObject({ code: 'TENSORFLOW_WHEEL' });
  });
});

describe.skipIf(process.platform !== 'linux')('an install that cannot go well', () => {
  const install = (source: Partial<Parameters<typeof installer.install>[0]>) => installer.install({ gpu: false, ...source }, { emit: () => {}, signal: new AbortController().signal });
  beforeEach(() => vi.stubEnv('GRAFT_CACHE', join(root, 'cache')));
  afterEach(() => expect(existsSync(join(root, 'cache', 'engines', 'tensorflow'))).toBe(false));

  it('says what to give it where nothing is given', async () => {
    await expect(install({})).rejects.toMatchObject({ code: 'USAGE', message: 'Say which TensorFlow to build on, with --wheel or --lib.', hint: expect.stringMatching(/pip download --no-deps tensorflow-cpu .*\n {2}graft engine install tensorflow --wheel/) as string });
    await expect(install({ gpu: true })).rejects.toMatchObject({ hint: expect.stringContaining('graft engine install tensorflow --gpu --wheel tensorflow-*.whl') as string });
    await expect(install({ lib: root, wheel: root })).rejects.toMatchObject({ code: 'USAGE' });
  });

  it('names a file that is not there', async () => {
    await expect(install({ wheel: join(root, 'none.whl') })).rejects.toMatchObject({ code: 'TENSORFLOW_WHEEL', message: `There is no file ${join(root, 'none.whl')}.` });
  });

  it('names the compiler that is not there', async () => {
    vi.stubEnv('CXX', 'no-such-compiler');
    await expect(install({ lib: root })).rejects.toMatchObject({ code: 'NO_COMPILER', message: 'There is no C++ compiler: no-such-compiler does not run.' });
  });

  it('refuses a build without CUDA for a GPU', async () => {
    files({ ...HEADER, ...WHEEL_LIBRARIES, 'python/platform/build_info.py': CPU_BUILD });
    await expect(install({ lib: root, gpu: true })).rejects.toMatchObject({ code: 'TENSORFLOW_CPU_BUILD' });
  });

  it('leaves nothing of a wheel that it could not use, nor what an install that was killed has left', async () => {
    const engines = join(root, 'cache', 'engines');
    mkdirSync(join(engines, 'tensorflow.new-999999999'), { recursive: true });
    mkdirSync(join(engines, `tensorflow.old-${process.ppid}`));
    files({ 'a.whl': zip({ 'tensorflow/libtensorflow_cc.so.2': elf() }) });
    await expect(install({ wheel: join(root, 'a.whl') })).rejects.toMatchObject({ code: 'TENSORFLOW_LIB' });
    expect(existsSync(join(engines, 'tensorflow.new-999999999'))).toBe(false);
    expect(existsSync(join(engines, `tensorflow.new-${process.pid}`))).toBe(false);
    expect(existsSync(join(engines, `tensorflow.old-${process.ppid}`))).toBe(true);
  });

  it('has nothing to list or to remove', async () => {
    expect([await installer.installed(), await installer.remove()]).toEqual([undefined, undefined]);
  });
});
