/** What a TensorFlow was built with of CUDA, and what of it this machine has. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

export interface CudaBuild {
  /** Undefined where no file says. */
  readonly gpu?: boolean;
  /** `12.5.1` */
  readonly cuda?: string;
  /** `9` */
  readonly cudnn?: string;
}

/** Reads build_info.py, which a wheel has, else cuda_config.h among the headers. */
export function cudaBuildOf(holder: string, include: string): CudaBuild {
  const buildInfo = join(holder, 'python', 'platform', 'build_info.py');
  if (existsSync(buildInfo)) {
    const text = readFileSync(buildInfo, 'utf8');
    const entry = (name: string): string | undefined => new RegExp(`['"]${name}['"]\\s*[,:]\\s*['"]?([\\w.]+)`).exec(text)?.[1];
    return { gpu: entry('is_cuda_build') === 'True', cuda: entry('cuda_version'), cudnn: entry('cudnn_version') };
  }
  const header = join(include, 'third_party', 'gpus', 'cuda', 'cuda_config.h');
  if (!existsSync(header)) return {};
  const text = readFileSync(header, 'utf8');
  const defined = (name: string): string | undefined => new RegExp(`#define TF_${name}_VERSION "([\\d.]+)"`).exec(text)?.[1];
  const cuda = defined('CUDA');
  return { gpu: cuda !== undefined, cuda, cudnn: defined('CUDNN') };
}

/** One of the libraries that a CUDA build loads when it starts. */
export interface CudaLibrary {
  readonly label: string;
  /** Absolute, links resolved: its name ends in the version. Undefined where it was not found. */
  readonly file?: string;
}

const NEEDED: readonly { readonly label: string; readonly name: RegExp; readonly versioned: 'cuda' | 'cudnn' | undefined }[] = [
  { label: 'NVIDIA driver', name: /^libcuda\.so\.1$/, versioned: undefined },
  { label: 'CUDA runtime', name: /^libcudart\.so\.(\d+)$/, versioned: 'cuda' },
  { label: 'cuBLAS', name: /^libcublas\.so\.(\d+)$/, versioned: 'cuda' },
  { label: 'cuDNN', name: /^libcudnn\.so\.(\d+)$/, versioned: 'cudnn' },
];

/**
 * Looks where the dynamic linker does, in the usual folders of CUDA, and in the `nvidia` folder that Python wheels have.
 * @param beside absolute folders next to which `nvidia/` may be
 */
export async function cudaLibraries(build: CudaBuild, beside: readonly string[]): Promise<readonly CudaLibrary[]> {
  const files = [...(await linkerCache()), ...folders(beside).flatMap(filesOf)];
  return NEEDED.map(({ label, name, versioned }) => {
    const wanted = versioned === undefined ? undefined : build[versioned]?.split('.')[0];
    const file = files.find((path) => {
      const match = name.exec(basename(path));
      return match !== null && (wanted === undefined || match[1] === undefined || match[1] === wanted);
    });
    return { label: wanted === undefined ? label : `${label} ${wanted}`, file: file === undefined ? undefined : realpathSync(file) };
  });
}

/** Folders of these libraries that the linker does not look into by itself: what `LD_LIBRARY_PATH` must name. */
export async function foldersToName(libraries: readonly CudaLibrary[]): Promise<readonly string[]> {
  const known = new Set([...(await linkerCache()).map((path) => dirname(realpathSync(path))), ...namedFolders()]);
  return [...new Set(libraries.flatMap(({ file }) => (file === undefined ? [] : [dirname(file)])))].filter((folder) => !known.has(folder));
}

function folders(beside: readonly string[]): readonly string[] {
  const wheels = beside.map((dir) => join(dir, 'nvidia')).filter(existsSync);
  return [...namedFolders(), '/usr/local/cuda/lib64', ...wheels.flatMap((dir) => readdirSync(dir).map((part) => join(dir, part, 'lib')))].filter(existsSync);
}

function namedFolders(): readonly string[] {
  return (process.env['LD_LIBRARY_PATH'] ?? '').split(':').filter((folder) => folder !== '' && existsSync(folder));
}

function filesOf(folder: string): readonly string[] {
  return readdirSync(folder).map((name) => join(folder, name));
}

/** Files that `ldconfig` knows; none where there is no such command. */
async function linkerCache(): Promise<readonly string[]> {
  for (const command of ['ldconfig', '/sbin/ldconfig']) {
    try {
      const { stdout } = await promisify(execFile)(command, ['-p'], { maxBuffer: 2 ** 24 });
      return [...stdout.matchAll(/ => (\/\S+)/g)].map((match) => match[1]!).filter(existsSync);
    } catch {
      // Not under this name.
    }
  }
  return [];
}
