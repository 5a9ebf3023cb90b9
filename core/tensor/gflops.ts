import * as tf from '@tensorflow/tfjs';
import type { Tensor2D } from '@tensorflow/tfjs-core';

/** Billions of floating-point operations a second in `[m, k] [k, n]` on the backend that is set, over about `seconds`. */
export function gflops(m: number, k: number, n: number, seconds: number): number {
  const [a, b] = [tf.randomUniform([m, k], -1, 1, 'float32', 1) as Tensor2D, tf.randomUniform([k, n], -1, 1, 'float32', 2) as Tensor2D];
  const multiply = (): void => {
    tf.tidy(() => void tf.slice(tf.matMul(a, b), [m - 1, n - 1], [1, 1]).dataSync());
  };
  multiply();
  const start = performance.now();
  let runs = 0;
  do {
    multiply();
    runs++;
  } while (performance.now() - start < seconds * 1000);
  const elapsed = (performance.now() - start) / 1000;
  tf.dispose([a, b]);
  return (2 * m * k * n * runs) / elapsed / 1e9;
}
