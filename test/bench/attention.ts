/** GFLOPS of the native engine's attention, forward and backward, beside those of its matrix product. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor3D } from '@tensorflow/tfjs-core';
import { startNative } from '../../plugins/engine-native/engine.ts';

const SHAPES: readonly (readonly [heads: number, groups: number, size: number])[] = [[9, 3, 64], [32, 4, 64], [6, 6, 48]];

/** Lengths of segments: two of a size, and those of short instructions with their answers. */
const LENGTHS: Readonly<Record<string, readonly number[]>> = {
  '256': new Array<number>(8).fill(256),
  '512': new Array<number>(4).fill(512),
  mixed: [23, 181, 64, 97, 310, 45, 128, 77, 260, 12, 151, 88, 203, 39, 116, 254],
};

/** Counts what is not masked: 4 D for each query, head and key that it sees; two and a half times that for the backward. */
export async function benchAttention(): Promise<void> {
  const { info, ops } = await startNative();
  process.stdout.write(`${info.name}: ${info.detail}; a product of [512, 512]: ${productGflops().toFixed(1)} GFLOPS\n`);
  for (const [heads, groups, size] of SHAPES) {
    for (const [name, lengths] of Object.entries(LENGTHS)) {
      const offsets = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))]);
      const shape = { queryOffsets: offsets, keyOffsets: offsets, scale: size ** -0.5 };
      const tokens = offsets.at(-1)!;
      const random = (count: number) => tf.randomNormal([tokens, count, size]) as Tensor3D;
      const [q, k, v] = [random(heads), random(groups), random(groups)];
      const flops = 4 * size * heads * lengths.reduce((sum, n) => sum + (n * (n + 1)) / 2, 0);

      const forward = milliseconds(() => ops.attention(q, k, v, shape).dispose());
      const differentiate = tf.grads((...operands) => ops.attention(...(operands as [Tensor3D, Tensor3D, Tensor3D]), shape));
      const both = milliseconds(() => tf.dispose(differentiate([q, k, v], q)));
      const gflops = (times: number, ms: number): string => ((times * flops) / ms / 1e6).toFixed(1).padStart(7);
      process.stdout.write(`H=${heads} Hkv=${groups} D=${size} of ${name.padEnd(6)} forward ${forward.toFixed(2).padStart(7)} ms ${gflops(1, forward)} GFLOPS, backward ${(both - forward).toFixed(2).padStart(7)} ms ${gflops(2.5, both - forward)} GFLOPS\n`);
      tf.dispose([q, k, v]);
    }
  }
}

function productGflops(): number {
  const [a, b] = [tf.randomNormal([512, 512]), tf.randomNormal([512, 512])];
  return (2 * 512 ** 3) / milliseconds(() => tf.matMul(a, b).dispose()) / 1e6;
}

/** The fastest of the runs that fit a third of a second, each waited for. */
function milliseconds(run: () => void): number {
  const wait = (): void => void tf.backend().readSync(marker.dataId);
  const marker = tf.scalar(0);
  const once = (): number => {
    const start = performance.now();
    run();
    wait();
    return performance.now() - start;
  };
  once();
  const end = performance.now() + 333;
  let best = Infinity;
  do best = Math.min(best, once());
  while (performance.now() < end);
  marker.dispose();
  return best;
}
