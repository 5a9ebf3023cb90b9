/** Taking out of a Python wheel what the binding is compiled against and runs on. */
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { GraftError, reasonOf } from 'graft';

const WANTED = /^tensorflow\/(?:libtensorflow(?:_cc|_framework)?\.so[.\d]*|include\/.+\.(?:h|inc)|python\/platform\/build_info\.py)$|^[^/]+\.dist-info\/(?:METADATA|LICENSE)$/;
const LIBRARY = /^tensorflow\/libtensorflow(?:_cc)?\.so/;

/**
 * Unpacks the libraries, the headers and what tells of the build.
 * @param into absolute, there
 * @param progress bytes so far and in all
 * @returns the folder `tensorflow` in it
 * @throws GraftError `TENSORFLOW_WHEEL` for a file that is no wheel, or one without the library
 */
export async function unpackWheel(file: string, into: string, progress: (done: number, total: number) => void, signal: AbortSignal): Promise<string> {
  // Only an install needs it: loaded here, the plugin does without.
  const { openPromise } = await import('yauzl');
  const open = () =>
    openPromise(file, { autoClose: false }).catch((error: unknown) => {
      throw new GraftError('TENSORFLOW_WHEEL', `${file} cannot be read as a wheel: ${reasonOf(error)}.`, { hint: 'A wheel is one whole .whl file, as `pip download --no-deps tensorflow-cpu` leaves it.', cause: error });
    });

  const zip = await open();
  try {
    let total = 0;
    const entries = [];
    for await (const entry of zip.eachEntry()) {
      if (!WANTED.test(entry.fileName)) continue;
      entries.push(entry);
      total += entry.uncompressedSize;
    }
    if (!entries.some(({ fileName }) => LIBRARY.test(fileName))) throw noLibrary(file);

    let done = 0;
    const made = new Set<string>();
    for (const entry of entries) {
      signal.throwIfAborted();
      const target = join(into, entry.fileName);
      if (!made.has(dirname(target))) await mkdir(dirname(target), { recursive: true });
      made.add(dirname(target));
      const count = new Transform({
        transform(chunk: Buffer, _encoding, next) {
          done += chunk.length;
          progress(done, total);
          next(undefined, chunk);
        },
      });
      await pipeline(await zip.openReadStreamPromise(entry), count, createWriteStream(target), { signal });
    }
    return join(into, 'tensorflow');
  } finally {
    zip.close();
  }
}

function noLibrary(file: string): GraftError {
  return new GraftError('TENSORFLOW_WHEEL', `${basename(file)} has no libtensorflow_cc.so.2 in it.`, {
    hint: 'The wheels tensorflow and tensorflow-cpu for Linux have it; those for other systems and older ones do not.',
  });
}
