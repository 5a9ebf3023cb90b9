import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import { portableOps, valueAndGrads, type FusedOps } from '../../core/index.ts';
import { benchEngine } from './native.ts';

const TOKENS = 2048;
const SEGMENT = 128;
const HIDDEN = 128;
const HEADS = 8;
const GROUPS = 4;
const SIZE = 16;
const INNER = 352;
const VOCABULARY = 1024;

/** Each fused operation, forward and backward, at the shapes of a Llama of hidden size 128: the engine's own beside the portable definition. */
export async function benchOps(): Promise<void> {
  const { engine } = await benchEngine();
  const random = (...shape: number[]) => tf.variable(tf.randomNormal(shape, 0, 1, 'float32', 1));
  const x = random(TOKENS, HIDDEN) as unknown as Tensor2D;
  const inner = random(TOKENS, INNER) as unknown as Tensor2D;
  const norm = random(HIDDEN) as unknown as Tensor1D;
  const [q, k, v] = [random(TOKENS, HEADS, SIZE), random(TOKENS, GROUPS, SIZE), random(TOKENS, GROUPS, SIZE)] as unknown as [Tensor3D, Tensor3D, Tensor3D];
  const [cos, sin] = [tf.randomNormal([TOKENS, SIZE / 2]) as Tensor2D, tf.randomNormal([TOKENS, SIZE / 2]) as Tensor2D];
  const offsets = Int32Array.from({ length: TOKENS / SEGMENT + 1 }, (_, i) => i * SEGMENT);
  const [square, embedding] = [random(HIDDEN, HIDDEN) as unknown as Tensor2D, random(VOCABULARY, HIDDEN) as unknown as Tensor2D];
  const ids = Int32Array.from({ length: TOKENS }, (_, i) => (i * 37) % VOCABULARY);

  const cases: readonly (readonly [string, (ops: FusedOps) => Tensor, readonly Tensor[]])[] = [
    ['linear', (ops) => ops.linear(x, square), [x, square]],
    ['embedding', (ops) => ops.embedding(embedding, ids), [embedding]],
    ['rmsNorm', (ops) => ops.rmsNorm(x, norm, 1e-5), [x, norm]],
    ['rope', (ops) => ops.rope(q, cos, sin), [q]],
    ['attention', (ops) => ops.attention(q, k, v, { queryOffsets: offsets, keyOffsets: offsets, scale: 0.25 }), [q, k, v]],
    ['swiglu', (ops) => ops.swiglu(inner, inner), [inner]],
    ['crossEntropy', (ops) => ops.crossEntropy(x, embedding, ids), [x, embedding]],
    ['dropout', (ops) => ops.dropout(x, 0.1, { seed: 1, step: 1, path: 'x' }), [x]],
  ];
  process.stdout.write(`ms forward and backward, ${TOKENS} tokens in segments of ${SEGMENT}\n`);
  for (const [name, operation, wanted] of cases) {
    const run = (ops: FusedOps): number => milliseconds(() => {
      const { value, grads } = valueAndGrads(() => tf.sum(operation(ops)), wanted as unknown as tf.Variable[]);
      // An engine may compute later than it is asked to.
      tf.tidy(() => tf.slice(tf.reshape(grads.at(-1)!, [-1]), [0], [1]).dataSync());
      tf.dispose([value, ...grads]);
    });
    process.stdout.write(`${name.padEnd(14)} ${run(engine.ops).toFixed(2).padStart(9)} own ${run(portableOps).toFixed(2).padStart(9)} portable\n`);
  }
}

/** The fastest of the runs that fit half a second. */
function milliseconds(run: () => void): number {
  run();
  const end = performance.now() + 500;
  let best = Infinity;
  do {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < end);
  return best;
}
