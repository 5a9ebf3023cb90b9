import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import * as zlib from 'node:zlib';
import type { Compressors } from 'hyparquet';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import type { ReadMeter } from './bytes.ts';
import type { Row } from './row.ts';

/** Snappy is hyparquet's own; these are Node's. zstd came with Node 22.15. */
function compressors(): Compressors {
  const zstd = (zlib as { zstdDecompressSync?: (input: Uint8Array) => Uint8Array }).zstdDecompressSync;
  return {
    GZIP: (input) => gunzipSync(input),
    BROTLI: (input) => brotliDecompressSync(input),
    ...(zstd === undefined ? {} : { ZSTD: (input: Uint8Array) => zstd(input) }),
  };
}

/**
 * Reads Parquet, one row group at a time. `line` is the row, from 1.
 * @throws GraftError `DATA_FILE` when the file is not Parquet, is damaged, or is compressed in a way that cannot be read here
 */
export async function* readParquet(path: string, meter?: ReadMeter): AsyncGenerator<Row> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } = await import('hyparquet');
  try {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const rows = await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors: compressors() });
      if (meter !== undefined) meter.done += Math.round((file.byteLength * Number(group.num_rows)) / Math.max(1, Number(metadata.num_rows)));
      for (const [index, value] of rows.entries()) yield { file: path, line: rowStart + index + 1, value: plain(value) as Record<string, unknown> };
      rowStart = rowEnd;
    }
  } catch (error) {
    if (GraftError.is(error)) throw error;
    const reason = reasonOf(error);
    const hint = /ZSTD/.test(reason) ? 'zstd needs Node 22.15 or newer; or write the file with snappy or gzip.' : /codec/.test(reason) ? 'Write it with snappy, gzip or brotli.' : undefined;
    throw new GraftError('DATA_FILE', `${path} cannot be read as Parquet: ${reason}.`, { cause: error, hint });
  }
}

/** Values as JSON would have them: 64-bit integers as numbers, or as text where a number would round them. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}
