import { tf, type Engine, type FrozenWeight, type WeightDtype } from '../../core/index.ts';
import { benchEngine, medianSeconds } from './native.ts';

/** Products of the benchmarked shapes over 512 tokens, of the quickstart's model over 2,048, of a batch of 16, and of one token. */
const PRODUCTS: readonly (readonly [what: string, m: number, k: number, n: number])[] = [
  ['135m q', 512, 576, 576],
  ['135m up', 512, 576, 1536],
  ['1b q', 512, 2048, 2048],
  ['1b up', 512, 2048, 5632],
  ['1b down', 512, 5632, 2048],
  ['15m up', 2048, 288, 768],
  ['quickstart up', 2048, 128, 352],
  ['16 rows', 16, 2048, 5632],
  ['one token', 1, 2048, 5632],
];

function frozen(engine: Engine, [n, k]: readonly [number, number], dtype: WeightDtype): FrozenWeight {
  const bf16 = dtype === 'bf16';
  const bytes = new Uint8Array(n * k * (bf16 ? 2 : 4));
  return engine.freeze({ name: 'w', shape: [n, k], dtype: bf16 ? 'BF16' : 'F32', bytes: () => bytes }, dtype);
}

/** Products by a frozen weight, forward and back, and of two tensors: GFLOPS, and share of the peak of the same run. */
export async function benchGemm(): Promise<void> {
  const { engine, peak } = await benchEngine();
  const bf16Computed = engine.info.detail.startsWith('avx512bf16');
  for (const dtype of engine.info.name === 'native' ? (['f32', 'bf16'] as const) : (['f32'] as const)) {
    const best = peak(dtype === 'bf16' && bf16Computed);
    process.stdout.write(`${dtype.padEnd(14)} ${'m'.padStart(5)} ${'k'.padStart(5)} ${'n'.padStart(5)} ${'forward'.padStart(16)} ${'back to x'.padStart(16)}${dtype === 'f32' ? `${'two tensors'.padStart(17)}` : ''}\n`);
    for (const [what, m, k, n] of PRODUCTS) {
      const x = tf.variable(tf.randomNormal([m, k]));
      const y = tf.randomNormal([m, n]) as tf.Tensor2D;
      const weight = frozen(engine, [n, k], dtype);
      const right = tf.randomNormal([k, n]) as tf.Tensor2D;
      const wait = (t: tf.Tensor): void => void tf.slice(tf.reshape(t, [-1]), [0], [1]).dataSync();
      const forward = medianSeconds(() => tf.tidy(() => wait(engine.ops.linear(x as unknown as tf.Tensor2D, weight))), 0.3);
      const both = medianSeconds(() => tf.tidy(() => wait(tf.grad((t) => engine.ops.linear(t as tf.Tensor2D, weight))(x, y))), 0.3);
      const plain = dtype === 'f32' ? medianSeconds(() => tf.tidy(() => wait(tf.matMul(x as unknown as tf.Tensor2D, right))), 0.3) : Number.NaN;
      const rate = (seconds: number): string => {
        // What is left between two medians of a noisy machine may be nothing.
        if (!(seconds > 0)) return '-'.padStart(16);
        const gflops = (2 * m * k * n) / seconds / 1e9;
        return `${gflops.toFixed(1).padStart(8)} ${Number.isNaN(best) ? '' : `(${((100 * gflops) / best).toFixed(0)} %)`.padStart(7)}`;
      };
      process.stdout.write(`${what.padEnd(14)} ${String(m).padStart(5)} ${String(k).padStart(5)} ${String(n).padStart(5)} ${rate(forward)} ${rate(both - forward)}${dtype === 'f32' ? ` ${rate(plain)}` : ''}\n`);
      tf.dispose([x, y, right]);
      weight.dispose();
    }
  }
}
