import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { GraftError, reasonOf } from '../kernel/errors.ts';

/** How far the reading of files has come, in bytes on disk; readers write it, progress bars read it. */
export class ReadMeter {
  /** Bytes of all files. */
  total = 0;
  done = 0;

  static async of(files: readonly string[]): Promise<ReadMeter> {
    const meter = new ReadMeter();
    for (const file of files) meter.total += (await stat(file)).size;
    return meter;
  }
}

/**
 * Streams a file's bytes, unpacked when its name ends in `.gz`. At most a few hundred KB are held at a time.
 * @throws GraftError `DATA_FILE` while iterating, when it cannot be read or is not the gzip file that its name says
 */
export async function* fileBytes(file: string, meter?: ReadMeter): AsyncGenerator<Uint8Array> {
  const source = createReadStream(file, { highWaterMark: 1 << 18 });
  source.on('data', (chunk) => {
    if (meter !== undefined) meter.done += chunk.length;
  });
  const packed = file.endsWith('.gz');
  const stream = packed ? source.pipe(createGunzip()) : source;
  if (packed) source.on('error', (error) => stream.destroy(error));
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    throw new GraftError('DATA_FILE', `${file} cannot be read: ${reasonOf(error)}.`, { cause: error, hint: packed ? 'Its name says that it is packed with gzip; `gzip -t` tells whether it is whole.' : undefined });
  } finally {
    source.destroy();
  }
}

/** sha256 of a file's contents, hex. */
export async function fileDigest(file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    signal.throwIfAborted();
    hash.update(chunk as Uint8Array);
  }
  return hash.digest('hex');
}
