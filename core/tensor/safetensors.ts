/** Reads safetensors: one file, or many through `model.safetensors.index.json`; tensors come one at a time, when asked for. */
import { readSync } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { WeightSource } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { toFloat32 } from './half.ts';
import { readJsonFile } from './json-file.ts';
import { headerLength, parseHeader, type SafetensorsHeader, type TensorEntry } from './safetensors-header.ts';

export const WEIGHTS_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

/** One read of the operating system, at most. */
const READ_BYTES = 2 ** 30;

/**
 * Open safetensors. Headers are read and checked at once; a tensor's bytes are read into one buffer that all reads share,
 * so that loading a model needs little more than its largest tensor beside the model.
 */
export class SafetensorsFile {
  /** By name, in the order in which they are stored. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  /** As it was opened. */
  readonly path: string;
  readonly #handles: ReadonlyMap<string, FileHandle>;
  #buffer = new Uint8Array(0);

  private constructor(path: string, handles: ReadonlyMap<string, FileHandle>, headers: readonly SafetensorsHeader[]) {
    this.path = path;
    this.#handles = handles;
    this.tensors = new Map(headers.flatMap((header) => header.tensors.map((tensor) => [tensor.name, tensor])));
    this.metadata = Object.assign({}, ...headers.map((header) => header.metadata)) as Record<string, string>;
  }

  /**
   * @param path a `.safetensors` file, an `.index.json`, or a folder with either under Hugging Face's names
   * @throws GraftError `SAFETENSORS_MISSING`, `SAFETENSORS_INDEX`, or what `parseHeader` throws, naming file and tensor
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const target = await locate(resolve(path));
    const index = target.endsWith('.json') ? await readIndex(target) : undefined;
    const files = index === undefined ? [target] : [...new Set(index.values())];
    const handles = new Map<string, FileHandle>();
    try {
      const headers: SafetensorsHeader[] = [];
      for (const file of files) headers.push(await openOne(file, handles));
      const safetensors = new SafetensorsFile(target, handles, headers);
      for (const [name, file] of index ?? []) {
        if (safetensors.tensors.get(name)?.file === file) continue;
        throw new GraftError('SAFETENSORS_INDEX', `${target} says that ${name} is in ${file}, but it is not.`, { hint: 'The index and the files are of different checkpoints; download them together.' });
      }
      return safetensors;
    } catch (error) {
      await closeAll(handles.values());
      throw error;
    }
  }

  /**
   * The raw bytes of a tensor of any type, row-major, little-endian, valid until the next read.
   * @throws GraftError `SAFETENSORS_NO_TENSOR`, `SAFETENSORS_TRUNCATED` where the file has shrunk since
   */
  bytes(name: string): Uint8Array {
    const { file, start, bytes } = this.#entry(name);
    if (this.#buffer.byteLength < bytes) this.#buffer = new Uint8Array(bytes);
    const { fd } = this.#handles.get(file)!;
    let done = 0;
    while (done < bytes) {
      const read = readSync(fd, this.#buffer, done, Math.min(bytes - done, READ_BYTES), start + done);
      if (read === 0) throw new GraftError('SAFETENSORS_TRUNCATED', `${file} ended in the middle of ${name}: it has become shorter since it was opened.`);
      done += read;
    }
    return this.#buffer.subarray(0, bytes);
  }

  /** A tensor as what an engine freezes: nothing is read until the engine asks. */
  source(name: string): WeightSource {
    const { shape, dtype, file, start, bytes } = this.#entry(name);
    if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
      throw new GraftError('SAFETENSORS_DTYPE', `${name} of ${file} is ${dtype}; weights must be F32, F16 or BF16.`, { hint: 'Save the checkpoint again in one of these.' });
    }
    return { name, shape, dtype, bytes: () => this.bytes(name), file: { path: file, start, bytes } };
  }

  /** The values of an F32, F16 or BF16 tensor, in memory of their own. */
  values(name: string): Float32Array {
    return toFloat32(this.source(name));
  }

  async close(): Promise<void> {
    this.#buffer = new Uint8Array(0);
    await closeAll(this.#handles.values());
  }

  #entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry === undefined) throw new GraftError('SAFETENSORS_NO_TENSOR', `${this.path} has no tensor ${name}.`);
    return entry;
  }
}

async function closeAll(handles: Iterable<FileHandle>): Promise<void> {
  for (const handle of handles) await handle.close();
}

async function locate(path: string): Promise<string> {
  const kind = await kindOf(path);
  if (kind === 'file') return path;
  if (kind === 'folder') {
    for (const name of [INDEX_FILE, WEIGHTS_FILE]) if ((await kindOf(join(path, name))) === 'file') return join(path, name);
    throw new GraftError('SAFETENSORS_MISSING', `${path} has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}.`);
  }
  throw new GraftError('SAFETENSORS_MISSING', `${path} does not exist.`);
}

async function kindOf(path: string): Promise<'file' | 'folder' | undefined> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  return found === undefined ? undefined : found.isDirectory() ? 'folder' : 'file';
}

/** Name of each tensor -> absolute path of its file. */
async function readIndex(path: string): Promise<Map<string, string>> {
  const map = (await readJsonFile(path))?.['weight_map'];
  if (typeof map !== 'object' || map === null || Array.isArray(map)) throw new GraftError('SAFETENSORS_INDEX', `${path} has no weight_map.`);
  return new Map(
    Object.entries(map).map(([name, file]: [string, unknown]) => {
      if (typeof file !== 'string' || file === '' || /[\\/]/.test(file)) throw new GraftError('SAFETENSORS_INDEX', `${path} is broken at ${name}: ${JSON.stringify(file)} is not the name of a file beside it.`);
      return [name, join(dirname(path), file)];
    }),
  );
}

async function openOne(file: string, handles: Map<string, FileHandle>): Promise<SafetensorsHeader> {
  const handle = await open(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new GraftError('SAFETENSORS_MISSING', `${file} does not exist.`, { hint: 'Download or copy the checkpoint again, with all of its files.' });
    throw error;
  });
  handles.set(file, handle);
  const { size } = await handle.stat();
  const read = async (length: number, position: number): Promise<Uint8Array> => {
    const { buffer, bytesRead } = await handle.read(new Uint8Array(length), 0, length, position);
    return buffer.subarray(0, bytesRead);
  };
  const length = headerLength(file, await read(8, 0), size);
  return parseHeader(file, await read(length, 8), size);
}
