import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { bytesOf, SafetensorsFile, toFloat32, writeSafetensors, writeShardedSafetensors, type TensorToWrite } from '../../core/index.ts';
import { oracleDir } from '../support/model.ts';

const dir = await mkdtemp(join(tmpdir(), 'graft-safetensors-'));
afterAll(() => rm(dir, { recursive: true, force: true }));
let files = 0;
const newPath = (name = 'file') => join(dir, `${files++}-${name}.safetensors`);

const f32 = (name: string, shape: number[], values: number[]): TensorToWrite => ({ name, dtype: 'F32', shape, bytes: () => bytesOf(Float32Array.from(values), 'F32') });

/** A file from its parts, right or wrong. */
async function raw(header: unknown, data: Uint8Array = new Uint8Array(0), length?: bigint): Promise<string> {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const first = Buffer.alloc(8);
  first.writeBigUInt64LE(length ?? BigInt(json.length));
  const path = newPath();
  await writeFile(path, Buffer.concat([first, json, data]));
  return path;
}

async function opened<T>(path: string, use: (file: SafetensorsFile) => T): Promise<T> {
  const file = await SafetensorsFile.open(path);
  try {
    return use(file);
  } finally {
    await file.close();
  }
}

describe('writing and reading', () => {
  it('gives every tensor back bit for bit, by name, with the metadata', async () => {
    const path = newPath();
    await writeSafetensors(path, [f32('b', [2, 3], [1, -2, 3.5, 0, -0, 1e-40]), f32('a', [0, 4], []), f32('scalar', [], [7])], { format: 'pt', note: 'ü' });
    await opened(path, (file) => {
      expect([...file.tensors.keys()]).toEqual(['a', 'b', 'scalar']);
      expect(file.tensors.get('b')).toMatchObject({ dtype: 'F32', shape: [2, 3], bytes: 24, file: path });
      expect([...new Uint32Array(file.values('b').buffer)]).toEqual([...new Uint32Array(Float32Array.of(1, -2, 3.5, 0, -0, 1e-40).buffer)]);
      expect([...file.values('scalar')]).toEqual([7]);
      expect(file.values('a').length).toBe(0);
      expect(file.metadata).toEqual({ format: 'pt', note: 'ü' });
    });
  });

  it('writes what the safetensors library writes: the same bytes for the same tensors', async () => {
    const reference = await readFile(join(oracleDir(), 'llama/linear_rope/model.safetensors'));
    const file = await SafetensorsFile.open(join(oracleDir(), 'llama/linear_rope/model.safetensors'));
    const tensors = [...file.tensors.values()].reverse().map(({ name, dtype, shape }) => ({ name, dtype, shape, bytes: () => file.bytes(name) }));
    const path = newPath();
    await writeSafetensors(path, tensors);
    await file.close();
    expect(Buffer.compare(await readFile(path), reference)).toBe(0);
  });

  it('puts wider types first, so that every tensor is aligned, and pads the header to 8 bytes', async () => {
    const path = newPath();
    const tensor = (name: string, dtype: TensorToWrite['dtype'], bytes: number): TensorToWrite => ({ name, dtype, shape: [1], bytes: () => new Uint8Array(bytes).fill(bytes) });
    await writeSafetensors(path, [tensor('u8', 'U8', 1), tensor('half', 'BF16', 2), tensor('long', 'I64', 8), tensor('float', 'F32', 4)]);
    const length = Number((await readFile(path)).readBigUInt64LE());
    expect(length % 8).toBe(0);
    await opened(path, (file) => {
      expect([...file.tensors.keys()]).toEqual(['long', 'float', 'half', 'u8']);
      expect([...file.bytes('long')]).toEqual([8, 8, 8, 8, 8, 8, 8, 8]);
      expect(() => file.values('long')).toThrow(`long of ${path} is I64; weights must be F32, F16 or BF16.`);
      expect(() => file.values('none')).toThrow(`${path} has no tensor none.`);
    });
  });

  it('leaves no file behind where a tensor does not fill its shape', async () => {
    const path = newPath('wrong');
    await expect(writeSafetensors(path, [f32('a', [2, 2], [1, 2, 3])])).rejects.toThrow('a has 12 bytes; [2, 2] of F32 needs 16.');
    await expect(writeSafetensors(path, [f32('a', [1], [1]), f32('a', [1], [1])])).rejects.toThrow('Two tensors are called a.');
    expect((await readdir(dir)).filter((name) => name.includes('wrong'))).toEqual([]);
  });

  it('reads all tensors of a file through one buffer', async () => {
    const path = newPath();
    await writeSafetensors(path, [f32('big', [64], new Array<number>(64).fill(1)), f32('small', [2], [2, 3])]);
    await opened(path, (file) => {
      const big = file.source('big');
      expect(big.bytes().byteLength).toBe(256);
      expect(file.bytes('small').buffer).toBe(big.bytes().buffer);
      expect([...file.values('small')]).toEqual([2, 3]);
    });
  });

  it('asks for bytes one tensor at a time', async () => {
    let open = 0;
    const tensors = ['a', 'b', 'c'].map((name): TensorToWrite => ({
      name,
      dtype: 'F32',
      shape: [1],
      bytes: async () => {
        expect(open++).toBe(0);
        await new Promise((resolve) => setImmediate(resolve));
        open--;
        return new Uint8Array(4);
      },
    }));
    await writeSafetensors(newPath(), tensors);
    expect(open).toBe(0);
  });
});

describe('shards', () => {
  const tensors = [f32('a', [3], [1, 2, 3]), f32('b', [3], [4, 5, 6]), f32('big', [8], [1, 1, 1, 1, 1, 1, 1, 1]), f32('c', [1], [9])];

  it('are filled in the order given, and read back through their index', async () => {
    const folder = await mkdtemp(join(dir, 'sharded-'));
    const written = await writeShardedSafetensors(folder, tensors, 24);
    expect(written).toEqual(['model-00001-of-00003.safetensors', 'model-00002-of-00003.safetensors', 'model-00003-of-00003.safetensors', 'model.safetensors.index.json']);
    const index = JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8')) as unknown;
    expect(index).toEqual({
      metadata: { total_size: 60 },
      weight_map: { a: written[0], b: written[0], big: written[1], c: written[2] },
    });
    await opened(folder, (file) => {
      expect([...file.tensors.keys()].sort()).toEqual(['a', 'b', 'big', 'c']);
      expect([...file.values('c'), ...file.values('a')]).toEqual([9, 1, 2, 3]);
    });
  });

  it('are one plain file where one is enough', async () => {
    const folder = await mkdtemp(join(dir, 'single-'));
    expect(await writeShardedSafetensors(folder, tensors, 1e9)).toEqual(['model.safetensors']);
    await opened(folder, (file) => expect(file.tensors.size).toBe(4));
  });

  it('are refused where the index and the files disagree', async () => {
    const folder = await mkdtemp(join(dir, 'broken-'));
    await writeShardedSafetensors(folder, tensors, 24);
    const path = join(folder, 'model.safetensors.index.json');
    const write = (map: Record<string, unknown>) => writeFile(path, JSON.stringify({ weight_map: map }));
    await write({ a: 'model-00002-of-00003.safetensors' });
    await expect(SafetensorsFile.open(folder)).rejects.toThrow(`${path} says that a is in ${join(folder, 'model-00002-of-00003.safetensors')}, but it is not.`);
    await write({ a: 'model-00009-of-00003.safetensors' });
    await expect(SafetensorsFile.open(folder)).rejects.toThrow(`${join(folder, 'model-00009-of-00003.safetensors')} does not exist.`);
    await write({ a: '../outside.safetensors' });
    await expect(SafetensorsFile.open(folder)).rejects.toThrow('"../outside.safetensors" is not the name of a file beside it');
    await writeFile(path, '{}');
    await expect(SafetensorsFile.open(folder)).rejects.toThrow(`${path} has no weight_map.`);
  });
});

describe('a broken file is named, with its tensor', () => {
  const entry = (start: number, end: number, shape = [(end - start) / 4], dtype = 'F32') => ({ dtype, shape, data_offsets: [start, end] });
  const data = new Uint8Array(16);

  it.each([
    ['too short for a length', async () => (await writeFile(newPath('x'), 'abc'), join(dir, `${files - 1}-x.safetensors`)), 'has 3 bytes, fewer than the 8 that every safetensors file begins with.'],
    ['a huge header', () => raw({}, data, 10n ** 12n), 'its first 8 bytes say that the header has 1000000000000 bytes, and at most 100000000 are allowed.'],
    ['a header longer than the file', () => raw({}, data, 5000n), 'is cut off: its header has 5000 bytes, and the whole file only 26.'],
    ['a header that is not JSON', () => raw('{"a": '), 'is not JSON: '],
    ['a header that is not UTF-8', () => raw('', Buffer.from([0x22, 0xff, 0x22]), 3n), 'is not JSON: '],
    ['a header that is a list', () => raw([1]), 'is not a JSON object.'],
    ['metadata that is not text', () => raw({ __metadata__: { a: 1 } }), '__metadata__ must map names to text.'],
    ['an unknown type', () => raw({ a: entry(0, 16, [4], 'F12') }, data), 'is broken at a: the type "F12" is unknown.'],
    ['a shape that is not sizes', () => raw({ a: entry(0, 16, [-4]) }, data), 'is broken at a: the shape [-4] is not a list of sizes.'],
    ['offsets in the wrong order', () => raw({ a: { ...entry(0, 16), data_offsets: [16, 0] } }, data), 'is broken at a: data_offsets [16,0] are not a beginning and an end.'],
    ['a shape that does not fill its offsets', () => raw({ a: entry(0, 16, [5]) }, data), 'is broken at a: [5] of F32 needs 20 bytes, and data_offsets give it 16.'],
    ['overlapping tensors', () => raw({ a: entry(0, 8), b: entry(4, 16) }, data), 'is broken: b begins 4 bytes before a ends.'],
    ['a gap', () => raw({ a: entry(0, 4), b: entry(8, 16) }, data), 'is broken: 4 bytes before b belong to no tensor.'],
    ['bytes after the last tensor', () => raw({ a: entry(0, 12) }, data), 'has 4 bytes after its last tensor (a) that belong to none.'],
    ['a tensor that is cut off', () => raw({ a: entry(0, 8), b: entry(8, 32) }, data), 'is cut off: it has'],
  ])('%s', async (_, make, message) => {
    const path = await make();
    const error = (await SafetensorsFile.open(path).catch((reason: unknown) => reason)) as Error;
    expect(error.name).toBe('GraftError');
    expect(error.message).toContain(path);
    expect(error.message).toContain(message);
  });

  it('a file that shrank after it was opened', async () => {
    const path = newPath();
    await writeSafetensors(path, [f32('a', [2], [1, 2]), f32('b', [2], [3, 4])]);
    const file = await SafetensorsFile.open(path);
    await truncate(path, file.tensors.get('b')!.start + 4);
    expect([...file.values('a')]).toEqual([1, 2]);
    expect(() => file.bytes('b')).toThrow(`${path} ended in the middle of b: it has become shorter since it was opened.`);
    await file.close();
  });

  it('a path that leads nowhere, and a folder without weights', async () => {
    await expect(SafetensorsFile.open(join(dir, 'none.safetensors'))).rejects.toThrow(`${join(dir, 'none.safetensors')} does not exist.`);
    const folder = await mkdtemp(join(dir, 'empty-'));
    await expect(SafetensorsFile.open(folder)).rejects.toThrow(`${folder} has neither model.safetensors nor model.safetensors.index.json.`);
  });
});

describe('16-bit floats', () => {
  const every = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);
  const widen = (dtype: 'F16' | 'BF16', bits: Uint16Array) => toFloat32({ name: 'x', shape: [bits.length], dtype, bytes: () => new Uint8Array(bits.buffer) });
  const narrow = (dtype: 'F16' | 'BF16', values: Float32Array) => new Uint16Array(bytesOf(values, dtype).slice().buffer);

  it.each(['F16', 'BF16'] as const)('every %s but NaN comes back as the same bits', (dtype) => {
    const values = widen(dtype, every);
    const back = narrow(dtype, values);
    const wrong = [...every].filter((bits) => (Number.isNaN(values[bits]!) ? !Number.isNaN(widen(dtype, back.slice(bits, bits + 1))[0]!) : back[bits] !== bits));
    expect(wrong).toEqual([]);
  });

  it.each(['F16', 'BF16'] as const)('between two neighbours of %s the nearer is taken, halfway the even one', (dtype) => {
    const infinity = dtype === 'F16' ? 0x7c00 : 0x7f80;
    const values = widen(dtype, every);
    for (let bits = 0; bits + 1 < infinity; bits += 97) {
      const [low, high] = [values[bits]!, values[bits + 1]!];
      const middle = low / 2 + high / 2;
      const just = (towards: number) => middle + (towards - middle) * 1e-3;
      expect([...narrow(dtype, Float32Array.of(just(low), middle, just(high)))]).toEqual([bits, bits % 2 === 0 ? bits : bits + 1, bits + 1]);
    }
  });

  it('values too large become infinite, those too small zero, with their sign', () => {
    expect([...narrow('F16', Float32Array.of(65519, 65520, -70000, 2 ** -25, -(2 ** -26), 1.5 * 2 ** -25))]).toEqual([0x7bff, 0x7c00, 0xfc00, 0, 0x8000, 1]);
    expect([...narrow('BF16', Float32Array.of(3.4e38, -Infinity))]).toEqual([0x7f80, 0xff80]);
  });
});
