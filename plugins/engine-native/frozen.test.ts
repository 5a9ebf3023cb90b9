import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { bytesOf, SafetensorsFile, tf, writeSafetensors, type Engine, type FreezeOptions, type FrozenWeight, type WeightDtype, type WeightSource } from '../../core/index.ts';
import { temporaryFolder } from '../../test/support/checkpoint.ts';
import { startNative } from './engine.ts';

const ORACLE = fileURLToPath(new URL('../../test/oracles/bitsandbytes/nf4.safetensors', import.meta.url));
const DTYPES: readonly WeightDtype[] = ['f32', 'bf16', 'f16', 'int8', 'nf4'];
/** `[out, in]`: odd numbers, so that blocks of 64 run across rows; and more than a product adds up at once. */
const SHAPES: readonly (readonly [number, number])[] = [[1, 1], [5, 37], [33, 45], [70, 129], [71, 128], [32, 2112], [35, 2101], [2101, 35]];

let engine: Engine;
beforeAll(async () => {
  engine = await startNative();
});

/** Numbers of about normal distribution, the same for the same seed. */
function numbers(count: number, seed = 1, scale = 2 ** -4): Float32Array {
  let state = seed;
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8;
  return Float32Array.from({ length: count }, () => ((next() + next() + next() + next() - 2 ** 25) / 2 ** 24) * scale);
}

function source(name: string, shape: readonly number[], values: Float32Array, dtype: WeightSource['dtype'] = 'F32'): WeightSource {
  return { name, shape, dtype, bytes: () => bytesOf(values, dtype) };
}

function freeze(shape: readonly [number, number], values: Float32Array, dtype: WeightDtype): FrozenWeight {
  return engine.freeze(source('w', shape, values), dtype);
}

function valuesOf(weight: FrozenWeight): Float32Array {
  const tensor = weight.toTensor();
  const values = tensor.dataSync<'float32'>();
  tensor.dispose();
  return values as Float32Array;
}

function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  return Array.from(actual).reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
}

/**
 * How far each element of a product may be off, in sums of its terms' magnitudes: where products are computed in bf16, the input is rounded to
 * it, by 2^-8 at most, and so are weights of fewer bits.
 */
function tolerance(dtype: WeightDtype): number {
  const computesBf16 = engine.info.detail.startsWith('avx512bf16') && dtype !== 'f32' && dtype !== 'f16';
  return (computesBf16 ? (dtype === 'bf16' ? 2 ** -8 : 2 ** -7) : 0) + 2 ** -20;
}

/** The largest error of a product, as a part of the sum of its terms' magnitudes. */
function productError(actual: ArrayLike<number>, a: Float32Array, bAt: (l: number, j: number) => number, m: number, k: number, n: number): number {
  expect(actual.length).toBe(m * n);
  let most = 0;
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let [sum, magnitude] = [0, 0];
      for (let l = 0; l < k; l++) {
        const term = a[i * k + l]! * bAt(l, j);
        sum += term;
        magnitude += Math.abs(term);
      }
      most = Math.max(most, Math.abs(actual[i * n + j]! - sum) / (magnitude || 1));
    }
  }
  return most;
}

describe('formats', () => {
  it('keeps the bytes of each format, scales included', () => {
    const bytes = DTYPES.map((dtype) => {
      const weight = freeze([3, 100], numbers(300), dtype);
      weight.dispose();
      return [weight.dtype, weight.bytes];
    });
    // int8: 3 scales; nf4: 5 blocks with a byte each, one scale of those, and their mean.
    expect(bytes).toEqual([['f32', 1200], ['bf16', 600], ['f16', 600], ['int8', 312], ['nf4', 163]]);
  });

  it.each<[WeightSource['dtype'], WeightDtype]>([['F32', 'f16'], ['BF16', 'f16'], ['F16', 'f16'], ['F16', 'bf16'], ['F16', 'f32'], ['BF16', 'f32']])('takes %s over as %s, rounded once', (stored, dtype) => {
    const values = numbers(7 * 45);
    // One below the smallest normal half, and one that is a tie.
    values.set([2 ** -20 + 2 ** -26, 1 + 2 ** -11, -1 - 3 * 2 ** -11, 65280]);
    const given = new Float32Array(values.length);
    const first = engine.freeze(source('w', [7, 45], values, stored), stored.toLowerCase() as WeightDtype);
    given.set(valuesOf(first));
    const weight = engine.freeze(source('w', [7, 45], values, stored), dtype);
    const kept = engine.freeze(source('w', [7, 45], given, dtype.toUpperCase() as WeightSource['dtype']), dtype);
    expect(valuesOf(weight)).toEqual(valuesOf(kept));
    [first, weight, kept].forEach((one) => one.dispose());
  });

  it('rounds int8 to the nearest multiple of a 127th of each row, ties to even', () => {
    const values = numbers(5 * 37);
    values.fill(0, 37, 74);
    values.set([127, 2.5, 3.5, -2.5, 0.49], 74);
    const weight = freeze([5, 37], values, 'int8');
    const expected = values.map((value, i) => {
      const row = values.subarray(Math.floor(i / 37) * 37, Math.floor(i / 37) * 37 + 37);
      const scale = Math.fround(row.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127);
      const exact = Math.fround(value / scale);
      const down = Math.floor(exact);
      const code = exact - down > 0.5 || (exact - down === 0.5 && down % 2 !== 0) ? down + 1 : down;
      return scale === 0 ? 0 : Math.fround(code * scale);
    });
    expect(valuesOf(weight)).toEqual(expected);
    expect([...valuesOf(weight).subarray(74, 79)]).toEqual([127, 2, 4, -2, 0]);
    weight.dispose();
  });

  it.each([['blocks', 257, 64], ['odd', 7, 45]] as const)('has the values of bitsandbytes in nf4: %s', async (name, rows, columns) => {
    const oracle = await SafetensorsFile.open(ORACLE);
    const [codes, absmax, table, map] = [oracle.bytes(`${name}.codes`).slice(), oracle.bytes(`${name}.absmax`).slice(), oracle.values('table'), oracle.values('map')];
    const [scales, offset, first] = [oracle.values(`${name}.absmax_scales`), oracle.values(`${name}.absmax_offset`)[0]!, oracle.values(`${name}.first_values`)];
    await oracle.close();
    const expected = Float32Array.from({ length: rows * columns }, (_, i) => {
      const byte = codes[i >> 1]!;
      const block = i >> 6;
      return table[i % 2 === 0 ? byte >> 4 : byte & 15]! * Math.fround(Math.fround(map[absmax[block]!]! * scales[block >> 8]!) + offset);
    });
    expect(largestDifference(first, expected.subarray(0, first.length))).toBeLessThan(1e-9);

    const values = numbers(rows * columns, 1, 2 ** -6).map((value, i) => value / 2 ** (Math.floor(i / 97) % 4));
    const weight = freeze([rows, columns], values, 'nf4');
    // The mean is summed in another order: a few units in the last place.
    expect(largestDifference(valuesOf(weight), expected)).toBeLessThan(3e-8);
    weight.dispose();
  });

  it('gives back exactly 0 for a block of zeros in nf4', () => {
    const values = numbers(4 * 64);
    values.fill(0, 64, 128);
    const weight = freeze([4, 64], values, 'nf4');
    expect(Math.max(...valuesOf(weight).subarray(64, 128).map(Math.abs))).toBe(0);
    weight.dispose();
  });

  it.each<[WeightDtype, number, string]>([['int8', NaN, 'not finite'], ['nf4', -Infinity, 'not finite'], ['f16', 70000, 'beyond 65504']])('refuses by name what %s has no place for: %d', (dtype, value, reason) => {
    const values = numbers(64);
    values[40] = value;
    expect(() => engine.freeze(source('model.layers.3.q', [2, 32], values), dtype)).toThrowError(new RegExp(`model\\.layers\\.3\\.q can't be frozen as ${dtype}: .*${reason}`));
  });
});

describe.each(DTYPES)('products with %s', (dtype) => {
  it.each(SHAPES)('are those of its values: [%d, %d]', (rows, columns) => {
    const weight = freeze([rows, columns], numbers(rows * columns, 7), dtype);
    const w = valuesOf(weight);
    for (const m of [1, 17]) {
      const [x, dy] = [numbers(m * columns, 3, 1), numbers(m * rows, 5, 1)];
      const [y, dx] = tf.tidy(() => {
        const { value, grad } = tf.valueAndGrad((input) => engine.ops.linear(input as tf.Tensor2D, weight))(tf.tensor2d(x, [m, columns]), tf.tensor2d(dy, [m, rows]));
        return [value.dataSync(), grad.dataSync()];
      });
      expect(productError(y, x, (l, j) => w[j * columns + l]!, m, columns, rows)).toBeLessThan(tolerance(dtype));
      expect(productError(dx, dy, (l, j) => w[l * columns + j]!, m, rows, columns)).toBeLessThan(tolerance(dtype));
    }
    // Packing leaves the values as they were.
    expect(valuesOf(weight)).toEqual(w);
    weight.dispose();
  });

  it('looks up rows of its values', () => {
    const weight = freeze([9, 45], numbers(9 * 45), dtype);
    const w = valuesOf(weight);
    const rows = tf.tidy(() => engine.ops.embedding(weight, Int32Array.of(8, 0, 3, 3)).dataSync());
    expect([...rows]).toEqual([8, 0, 3, 3].flatMap((row) => [...w.subarray(row * 45, row * 45 + 45)]));
    weight.dispose();
  });
});

describe('weights in files', () => {
  async function written(stored: WeightSource['dtype'], shape: readonly [number, number], names: readonly string[] = ['w']): Promise<SafetensorsFile> {
    const path = join(await temporaryFolder(), 'model.safetensors');
    await writeSafetensors(path, names.map((name, i) => ({ name, dtype: stored, shape, bytes: () => bytesOf(numbers(shape[0] * shape[1], 11 + i), stored) })));
    return SafetensorsFile.open(path);
  }

  /** Reads nothing on this side. */
  function fileSource(file: SafetensorsFile, name = 'w'): WeightSource {
    return { ...file.source(name), bytes: () => expect.unreachable('the engine reads the file itself') };
  }

  it.each<[WeightSource['dtype'], WeightDtype, FreezeOptions]>([['BF16', 'bf16', {}], ['BF16', 'nf4', {}], ['F32', 'int8', {}], ['F32', 'f32', { mapped: true }], ['BF16', 'bf16', { mapped: true }], ['F16', 'f16', { mapped: true }]])('%s as %s %o: has the values and products of one from memory', async (stored, dtype, options) => {
    const file = await written(stored, [70, 129]);
    const weight = engine.freeze(fileSource(file), dtype, options);
    const held = engine.freeze({ ...file.source('w'), file: undefined }, dtype);
    expect(valuesOf(weight)).toEqual(valuesOf(held));
    expect(weight.bytes).toBe(options.mapped === true ? 0 : held.bytes);
    const [x, dy] = [tf.tensor2d(numbers(5 * 129), [5, 129]), tf.tensor2d(numbers(5 * 70), [5, 70])];
    const [ours, theirs] = [weight, held].map((one) => tf.tidy(() => {
      const { value, grad } = tf.valueAndGrad((input) => engine.ops.linear(input as tf.Tensor2D, one))(x, dy);
      return [...value.dataSync(), ...grad.dataSync()];
    }));
    expect(ours).toEqual(theirs);
    tf.dispose([x, dy]);
    [weight, held].forEach((one) => one.dispose());
    await file.close();
  });

  it('tells by name that a file has become shorter', async () => {
    const file = await written('BF16', [70, 128]);
    const found = fileSource(file);
    writeFileSync(found.file!.path, readFileSync(found.file!.path).subarray(0, 9000));
    for (const options of [{}, { mapped: true }]) {
      expect(() => engine.freeze(found, 'bf16', options)).toThrowError(/^w can't be frozen as bf16: can't (read|map) .*model\.safetensors: it is shorter than its header says\.$/);
    }
    await file.close();
  });

  it('maps only what needs no other form', async () => {
    const file = await written('BF16', [4, 8]);
    const found = fileSource(file);
    const misplaced = { ...found, file: { ...found.file!, start: found.file!.start + 1 } };
    for (const [source, dtype, says] of [[found, 'nf4', 'w is stored as bf16; mapped from its file, it can\'t be kept as nf4.'], [{ ...found, file: undefined }, 'bf16', 'w lies in no file'], [misplaced, 'bf16', "in the middle of a number's place"]] as const) {
      expect(() => engine.freeze(source, dtype, { mapped: true })).toThrowError(says);
    }
    await file.close();
  });

  it.runIf(process.platform === 'linux')('holds the pages of one mapping at most', async () => {
    // 4 MiB each.
    const file = await written('F32', [1024, 1024], ['a', 'b']);
    const [a, b] = ['a', 'b'].map((name) => engine.freeze(fileSource(file, name), 'f32', { mapped: true }));
    const [x, zero] = [tf.tensor2d(numbers(4096), [4, 1024]), tf.zeros([4, 1024]) as tf.Tensor2D];
    const backward = (weight: FrozenWeight): void => tf.tidy(() => void tf.grad((input: tf.Tensor) => engine.ops.linear(input as tf.Tensor2D, weight))(zero, x).dataSync());
    for (const weight of [a!, b!, a!]) {
      tf.tidy(() => void engine.ops.linear(x, weight).dataSync());
      backward(weight);
      // With the pages at both ends.
      expect(residentKiB(file.path)).toBeLessThanOrEqual(4096 + 8);
    }
    [a, b].forEach((weight) => weight!.dispose());
    tf.dispose([x, zero]);
    await file.close();
  });
});

/** What of a file's mappings is in this process's memory. */
function residentKiB(path: string): number {
  const blocks = readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  return blocks.filter((block) => block.split('\n')[0]!.endsWith(path)).reduce((sum, block) => sum + Number(/^Rss:\s+(\d+)/m.exec(block)![1]), 0);
}
