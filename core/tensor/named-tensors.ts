/** Whole safetensors files of adapters, which are small: every tensor as float32 by its name. */
import { SafetensorsFile } from './safetensors.ts';
import { writeSafetensors } from './safetensors-writer.ts';

export interface NamedTensor {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly values: Float32Array;
}

export type NamedTensors = ReadonlyMap<string, NamedTensor>;

/** @throws GraftError as `SafetensorsFile` does; `SAFETENSORS_DTYPE` where a tensor is neither f32, f16 nor bf16 */
export async function readTensors(path: string): Promise<NamedTensors> {
  const file = await SafetensorsFile.open(path);
  try {
    return new Map([...file.tensors].map(([name, { shape }]) => [name, { shape, values: file.values(name) }]));
  } finally {
    await file.close();
  }
}

/** Writes them as F32. */
export async function writeTensors(path: string, tensors: NamedTensors, metadata: Readonly<Record<string, string>> = {}): Promise<void> {
  const list = [...tensors].map(([name, { shape, values }]) => ({
    name,
    dtype: 'F32' as const,
    shape,
    bytes: () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  }));
  await writeSafetensors(path, list, metadata);
}
