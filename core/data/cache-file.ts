import { createHash, randomUUID, type Hash } from 'node:crypto';
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { ExampleInfo } from '../contracts/index.ts';
import type { Example } from './example.ts';

/** What one set of files became: all that a cache must give back. */
export interface Tokenised {
  readonly examples: readonly Example[];
  readonly badRows: { readonly count: number; readonly reasons: readonly string[] };
  /** What people should be told of how the rows were tokenised. */
  readonly notes: readonly string[];
}

/**
 * Layout: MAGIC, u32 length of the header, header as JSON, then the int32 columns `lengths, files, lines, fullLengths,
 * truncated, endOfTurn` `[N]` and `inputIds, labels` `[T]`, then the sha256 of all before it.
 */
const MAGIC = 'graft-examples-1\n';
const DIGEST_BYTES = 32;
const CHUNK_BYTES = 1 << 26;

interface Header {
  readonly examples: number;
  readonly tokens: number;
  readonly files: readonly string[];
  readonly badRows: Tokenised['badRows'];
  readonly notes: readonly string[];
}

/** How `endOfTurnTrained` is written. */
const END_OF_TURN: readonly (boolean | undefined)[] = [undefined, false, true];

/** Writes aside and renames, so that a reader never sees a part. */
export async function writeCacheFile(path: string, { examples, badRows, notes }: Tokenised): Promise<void> {
  const files = [...new Set(examples.map((example) => example.info.file))];
  const fileToIndex = new Map(files.map((file, index) => [file, index]));
  const tokens = examples.reduce((sum, example) => sum + example.inputIds.length, 0);
  const header: Header = { examples: examples.length, tokens, files, badRows, notes };
  const column = (of: (info: ExampleInfo, example: Example) => number): Int32Array => Int32Array.from(examples, (example) => of(example.info, example));
  const columns = [
    column((_, example) => example.inputIds.length),
    column((info) => fileToIndex.get(info.file)!),
    column((info) => info.line),
    column((info) => info.fullLength),
    column((info) => info.truncated),
    column((info) => END_OF_TURN.indexOf(info.endOfTurnTrained)),
    flat(examples.map((example) => example.inputIds), tokens),
    flat(examples.map((example) => example.labels), tokens),
  ];
  await mkdir(dirname(path), { recursive: true });
  const aside = `${path}.${randomUUID()}.tmp`;
  try {
    const file = await open(aside, 'wx');
    try {
      const hash = createHash('sha256');
      const json = Buffer.from(JSON.stringify(header));
      const length = Buffer.alloc(4);
      length.writeUInt32LE(json.length);
      for (const part of [Buffer.from(MAGIC), length, json, ...columns.map(bytesOf)]) await append(file, part, hash);
      await file.write(hash.digest());
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

/**
 * Reads what `writeCacheFile` wrote.
 * @returns undefined when there is no such file
 * @throws Error with the reason, when the file is not whole
 */
export async function readCacheFile(path: string): Promise<Tokenised | undefined> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    const hash = createHash('sha256');
    const prefix = await take(file, MAGIC.length + 4, size, hash);
    if (prefix.subarray(0, MAGIC.length).toString() !== MAGIC) throw new Error('it is not a file of cached examples');
    const header = JSON.parse((await take(file, prefix.readUInt32LE(MAGIC.length), size, hash)).toString()) as Header;
    const column = async (length: number): Promise<Int32Array> => {
      const bytes = await take(file, length * 4, size, hash);
      return new Int32Array(bytes.buffer, bytes.byteOffset, length);
    };
    const n = header.examples;
    const [lengths, files, lines, fullLengths, truncated, endOfTurn] = [await column(n), await column(n), await column(n), await column(n), await column(n), await column(n)];
    const [inputIds, labels] = [await column(header.tokens), await column(header.tokens)];
    const digest = await take(file, DIGEST_BYTES, size);
    if (!digest.equals(hash.digest())) throw new Error('its checksum does not match its contents');
    let end = 0;
    const examples = Array.from(lengths, (length, i): Example => {
      const start = end;
      end += length;
      return {
        inputIds: inputIds.subarray(start, end),
        labels: labels.subarray(start, end),
        info: { file: header.files[files[i]!]!, line: lines[i]!, fullLength: fullLengths[i]!, truncated: truncated[i]!, endOfTurnTrained: END_OF_TURN[endOfTurn[i]!] },
      };
    });
    return { examples, badRows: header.badRows, notes: header.notes };
  } finally {
    await file.close();
  }
}

function flat(parts: readonly Int32Array[], length: number): Int32Array {
  const whole = new Int32Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function bytesOf(column: Int32Array): Buffer {
  return Buffer.from(column.buffer, column.byteOffset, column.byteLength);
}

async function append(file: FileHandle, bytes: Buffer, hash: Hash): Promise<void> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    const chunk = bytes.subarray(at, at + CHUNK_BYTES);
    hash.update(chunk);
    await file.writeFile(chunk);
  }
}

/** The next bytes, in a buffer of their own. */
async function take(file: FileHandle, length: number, fileSize: number, hash?: Hash): Promise<Buffer> {
  if (length > fileSize) throw new Error('it is cut off');
  const bytes = Buffer.from(new ArrayBuffer(length));
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(bytes, at, Math.min(CHUNK_BYTES, length - at));
    if (bytesRead === 0) throw new Error('it is cut off');
    hash?.update(bytes.subarray(at, at + bytesRead));
    at += bytesRead;
  }
  return bytes;
}
