/**
 * The header of a safetensors file: 8 bytes with its length, then JSON that says where each tensor's bytes are.
 * Format: https://github.com/huggingface/safetensors#format
 */
import { GraftError, reasonOf } from '../kernel/errors.ts';

/** Bytes of one element, in the order in which the safetensors library sorts types within a file: the last stands first. */
export const DTYPE_BYTES = {
  BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1, I16: 2, U16: 2, F16: 2, BF16: 2, I32: 4, U32: 4, F32: 4, F64: 8, I64: 8, U64: 8,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** One tensor of a file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Absolute path of the file that holds it. */
  readonly file: string;
  /** Of its first byte, from the beginning of the file. */
  readonly start: number;
  /** Length in bytes. */
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** In the order in which they are stored. */
  readonly tensors: readonly TensorEntry[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** The library's own limit. */
export const MAX_HEADER_BYTES = 100_000_000;

/**
 * Length of the JSON, from the first 8 bytes.
 * @throws GraftError `SAFETENSORS_TRUNCATED` or `SAFETENSORS_HEADER` where it can't be one
 */
export function headerLength(file: string, first: Uint8Array, fileBytes: number): number {
  if (first.byteLength < 8) throw new GraftError('SAFETENSORS_TRUNCATED', `${file} has ${fileBytes} bytes, fewer than the 8 that every safetensors file begins with.`, { hint: 'Download or copy it again.' });
  const length = Number(new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true));
  if (length < 2 || length > MAX_HEADER_BYTES) {
    throw new GraftError('SAFETENSORS_HEADER', `${file} is not a safetensors file: its first 8 bytes say that the header has ${length} bytes, and at most ${MAX_HEADER_BYTES} are allowed.`);
  }
  if (length + 8 > fileBytes) throw new GraftError('SAFETENSORS_TRUNCATED', `${file} is cut off: its header has ${length} bytes, and the whole file only ${fileBytes}.`, { hint: 'Download or copy it again.' });
  return length;
}

/**
 * Reads and checks the JSON: types, shapes, and that the tensors fill the rest of the file without gap or overlap.
 * @param fileBytes size of the whole file
 * @throws GraftError `SAFETENSORS_HEADER`, `SAFETENSORS_TENSOR`, `SAFETENSORS_OFFSETS` or `SAFETENSORS_TRUNCATED`, naming file and tensor
 */
export function parseHeader(file: string, json: Uint8Array, fileBytes: number): SafetensorsHeader {
  const { __metadata__: metadata = {}, ...entries } = parseJson(file, json);
  if (!isRecord(metadata) || Object.values(metadata).some((value) => typeof value !== 'string')) {
    throw new GraftError('SAFETENSORS_HEADER', `The header of ${file} is broken: __metadata__ must map names to text.`);
  }
  const dataStart = 8 + json.byteLength;
  const tensors = Object.entries(entries).map(([name, value]) => parseEntry(file, name, value, dataStart));
  tensors.sort((a, b) => a.start - b.start || a.bytes - b.bytes);
  checkLayout(file, tensors, dataStart, fileBytes);
  return { tensors, metadata: metadata as Record<string, string> };
}

function parseJson(file: string, json: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch (cause) {
    throw new GraftError('SAFETENSORS_HEADER', `The header of ${file} is not JSON: ${reasonOf(cause)}.`, { cause });
  }
  if (!isRecord(value)) throw new GraftError('SAFETENSORS_HEADER', `The header of ${file} is not a JSON object.`);
  return value;
}

function parseEntry(file: string, name: string, value: unknown, dataStart: number): TensorEntry {
  const broken = (what: string) => new GraftError('SAFETENSORS_TENSOR', `The header of ${file} is broken at ${name}: ${what}.`);
  if (!isRecord(value)) throw broken('it is not an object');
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BYTES, dtype)) throw broken(`the type ${JSON.stringify(dtype)} is unknown`);
  if (!isSizes(shape)) throw broken(`the shape ${JSON.stringify(shape)} is not a list of sizes`);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) throw broken(`data_offsets ${JSON.stringify(offsets)} are not a beginning and an end`);
  const needed = shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype as SafetensorsDtype]);
  const bytes = offsets[1]! - offsets[0]!;
  if (needed !== bytes) throw broken(`[${shape.join(', ')}] of ${dtype} needs ${needed} bytes, and data_offsets give it ${bytes}`);
  return { name, dtype: dtype as SafetensorsDtype, shape, file, start: dataStart + offsets[0]!, bytes };
}

function checkLayout(file: string, tensors: readonly TensorEntry[], dataStart: number, fileBytes: number): void {
  let end = dataStart;
  let before: TensorEntry | undefined;
  for (const tensor of tensors) {
    if (tensor.start < end) throw new GraftError('SAFETENSORS_OFFSETS', `The header of ${file} is broken: ${tensor.name} begins ${end - tensor.start} bytes before ${before?.name} ends.`);
    if (tensor.start > end) throw new GraftError('SAFETENSORS_OFFSETS', `The header of ${file} is broken: ${tensor.start - end} bytes before ${tensor.name} belong to no tensor.`);
    end += tensor.bytes;
    before = tensor;
    if (end > fileBytes) {
      throw new GraftError('SAFETENSORS_TRUNCATED', `${file} is cut off: it has ${fileBytes} bytes, and ${tensor.name} ends at ${end}.`, { hint: 'Download or copy it again.' });
    }
  }
  if (end < fileBytes) throw new GraftError('SAFETENSORS_OFFSETS', `${file} has ${fileBytes - end} bytes after its last tensor${before === undefined ? '' : ` (${before.name})`} that belong to none.`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}
