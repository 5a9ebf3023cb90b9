/** Writes safetensors as the Hugging Face libraries do: one file, or shards with an index. */
import { randomUUID } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { GraftError } from '../kernel/errors.ts';
import { DTYPE_BYTES, type SafetensorsDtype } from './safetensors-header.ts';
import { INDEX_FILE, WEIGHTS_FILE } from './safetensors.ts';

/** A tensor to be written. Its bytes are asked for when they are due, one tensor at a time. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Little-endian, row-major. */
  bytes(): Uint8Array | Promise<Uint8Array>;
}

/** What PyTorch's readers look for. */
const TORCH_METADATA = { format: 'pt' };

/** Sorted as the safetensors library sorts: wider types first, so that all are aligned, then by name. */
const TYPE_ORDER = Object.keys(DTYPE_BYTES) as SafetensorsDtype[];

/**
 * Writes a file aside and renames it, so that a reader never meets half of one.
 * @throws GraftError `SAFETENSORS_DUPLICATE` or `SAFETENSORS_SIZE`, naming the tensor
 */
export async function writeSafetensors(path: string, tensors: Iterable<TensorToWrite>, metadata: Readonly<Record<string, string>> = TORCH_METADATA): Promise<void> {
  const sorted = [...tensors].sort((a, b) => TYPE_ORDER.indexOf(b.dtype) - TYPE_ORDER.indexOf(a.dtype) || compareBytes(a.name, b.name));
  const aside = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  const file = await open(aside, 'wx');
  try {
    await file.write(headerOf(sorted, metadata));
    for (const tensor of sorted) {
      const bytes = await tensor.bytes();
      if (bytes.byteLength !== sizeOf(tensor)) throw new GraftError('SAFETENSORS_SIZE', `${tensor.name} has ${bytes.byteLength} bytes; [${tensor.shape.join(', ')}] of ${tensor.dtype} needs ${sizeOf(tensor)}.`);
      await writeAll(file, bytes);
    }
    await file.sync();
    await file.close();
    await rename(aside, path);
  } catch (error) {
    await file.close();
    await rm(aside, { force: true });
    throw error;
  }
}

/**
 * Writes `model.safetensors`, or where it would be larger than `maxShardBytes` `model-00001-of-0000N.safetensors` and an index.
 * @returns the names of the files written
 */
export async function writeShardedSafetensors(dir: string, tensors: Iterable<TensorToWrite>, maxShardBytes: number): Promise<readonly string[]> {
  const shards = shard([...tensors], maxShardBytes);
  if (shards.length <= 1) {
    await writeSafetensors(join(dir, WEIGHTS_FILE), shards.flat());
    return [WEIGHTS_FILE];
  }
  const names = shards.map((_, i) => `model-${numbered(i + 1)}-of-${numbered(shards.length)}.safetensors`);
  for (const [i, part] of shards.entries()) await writeSafetensors(join(dir, names[i]!), part);
  const weightMap = Object.fromEntries(shards.flatMap((part, i) => part.map((tensor) => [tensor.name, names[i]!])).sort(([a], [b]) => compareBytes(a!, b!)));
  const index = { metadata: { total_size: shards.flat().reduce((sum, tensor) => sum + sizeOf(tensor), 0) }, weight_map: weightMap };
  await writeAside(join(dir, INDEX_FILE), `${JSON.stringify(index, null, 2)}\n`);
  return [...names, INDEX_FILE];
}

function headerOf(tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const header: Record<string, unknown> = Object.keys(metadata).length === 0 ? {} : { __metadata__: metadata };
  let end = 0;
  for (const tensor of tensors) {
    if (Object.hasOwn(header, tensor.name)) throw new GraftError('SAFETENSORS_DUPLICATE', `Two tensors are called ${tensor.name}.`);
    const start = end;
    end += sizeOf(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [start, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = Buffer.alloc(8 + padded, ' ');
  bytes.writeBigUInt64LE(BigInt(padded));
  json.copy(bytes, 8);
  return bytes;
}

/** Shards in the order given, each as full as fits; a tensor larger than a shard has one to itself. */
function shard(tensors: readonly TensorToWrite[], maxShardBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    const size = sizeOf(tensor);
    if (shards.length === 0 || size > room) {
      shards.push([]);
      room = maxShardBytes;
    }
    shards[shards.length - 1]!.push(tensor);
    room -= size;
  }
  return shards;
}

async function writeAside(path: string, text: string): Promise<void> {
  const aside = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  const file = await open(aside, 'wx');
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
}

async function writeAll(file: Awaited<ReturnType<typeof open>>, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) done += (await file.write(bytes, done, Math.min(bytes.byteLength - done, 2 ** 30))).bytesWritten;
}

function sizeOf({ shape, dtype }: TensorToWrite): number {
  return shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
}

function numbered(n: number): string {
  return String(n).padStart(5, '0');
}

/** Order of UTF-8 bytes, which is what Rust compares. */
function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
