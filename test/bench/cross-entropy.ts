import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Variable } from '@tensorflow/tfjs-core';
import { rng, valueAndGrads, type Engine, type FrozenWeight } from '../../core/index.ts';
import { startNative } from '../../plugins/engine-native/engine.ts';

const SHAPES: readonly (readonly [tokens: number, size: number, vocabulary: number])[] = [[512, 576, 49_152], [512, 2048, 32_000], [2048, 288, 32_000]];
/** Classes of the plain product beside it: its result stays small. */
const PLAIN_CLASSES = 4096;

/** The output layer and its loss on frozen weights: the loss with its gradient, the loss alone, and a plain product of the same depth. */
export async function benchCrossEntropy(): Promise<void> {
  const engine = await startNative();
  process.stdout.write(`${engine.info.name}: ${engine.info.detail}; GB/s: of float32 logits that are never stored, were each written once and read once\n`);
  for (const [tokens, size, vocabulary] of SHAPES) {
    const hidden = tf.variable(tf.randomNormal([tokens, size])) as Variable & Tensor2D;
    const targets = Int32Array.from({ length: tokens }, (_, i) => (i * 9973) % vocabulary);
    for (const dtype of ['f32', 'bf16'] as const) {
      const [weight, part] = [frozen(engine, [vocabulary, size], dtype), frozen(engine, [PLAIN_CLASSES, size], dtype)];
      const both = await seconds(() => {
        const { value, grads } = valueAndGrads(() => tf.sum(engine.ops.crossEntropy(hidden, weight, targets)), [hidden]);
        tf.dispose([value, ...grads]);
      });
      const alone = await seconds(() => tf.dispose(engine.ops.crossEntropy(hidden, weight, targets)));
      const plain = await seconds(() => tf.dispose(engine.ops.linear(hidden, part)));
      const product = 2 * tokens * size * vocabulary;
      const figures = [
        `${(both * 1000).toFixed(0).padStart(5)} ms`,
        `${gigas(2 * product, both)} GFLOPS with gradient`,
        `${gigas(product, alone)} alone`,
        `${gigas(2 * tokens * size * PLAIN_CLASSES, plain)} plain product`,
        `${gigas(8 * tokens * vocabulary, both)} GB/s`,
      ];
      process.stdout.write(`[${tokens}, ${size}] ${vocabulary} classes ${dtype.padEnd(4)} ${figures.join('  ')}\n`);
      weight.dispose();
      part.dispose();
    }
    hidden.dispose();
  }
}

function frozen(engine: Engine, shape: [number, number], dtype: 'f32' | 'bf16'): FrozenWeight {
  const random = rng(1, dtype);
  const values = Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal() * shape[1] ** -0.5);
  return engine.freeze({ name: 'output', shape, dtype: 'F32', bytes: () => new Uint8Array(values.buffer) }, dtype);
}

const gigas = (count: number, duration: number): string => (count / duration / 1e9).toFixed(0).padStart(4);

/** The fastest of the runs that fit two seconds, of at least two. */
async function seconds(run: () => void): Promise<number> {
  let best = Infinity;
  const end = performance.now() + 2000;
  for (let i = 0; i < 2 || performance.now() < end; i++) best = Math.min(best, ((await tf.time(run)).kernelMs as number) / 1000);
  return best;
}
