/** What the tensorflow engine must hold to on a real TensorFlow: the fused operations in float32, and weights in bfloat16. */
import { tf } from 'graft';
import type { Scalar, Tensor1D, Tensor2D, Variable } from '@tensorflow/tfjs-core';
import { bytesOf, valueAndGrads, type Engine, type FrozenWeight } from '../../core/index.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { bfloat16Pays } from '../../plugins/engine-tensorflow/bfloat16.ts';
import { constant, distance, normals, project, variable } from './gradients.ts';
import * as naive from './naive-ops.ts';
import { describeOps } from './ops-suite.ts';

/** Half the distance of neighbours in bfloat16, relative: 8 bits of fraction, one of them not stored. */
const ROUNDING = 2 ** -9;

/** @param engineOf read when a test runs, after the engine has started */
export function describeTensorflow(engineOf: () => Engine): void {
  afterEach(() => tf.disposeVariables());
  describeOps(engineOf);

  const fast = bfloat16Pays(false);
  describe.skipIf(!fast)(`weights in bfloat16${fast ? '' : ' (this processor has no instructions for them)'}`, () => {
    /** One matrix whose values bfloat16 has exactly, frozen as bf16 and as a plain tensor. */
    const pair = (shape: [number, number], name: string): { frozen: FrozenWeight; plain: Tensor2D } => {
      const bits = bytesOf(normals(shape, name), 'BF16');
      const frozen = engineOf().freeze({ name, shape, dtype: 'BF16', bytes: () => bits }, 'bf16');
      return { frozen, plain: frozen.toTensor() };
    };
    const largest = (x: tf.Tensor): number => Math.max(...x.dataSync().map(Math.abs));
    /** Gradients and value of one against the other, relative to the largest of each, in units of bfloat16's rounding. */
    const compare = (ours: () => Tensor2D | Tensor1D, reference: () => Tensor2D | Tensor1D, trained: readonly Variable[]): number => {
      const [got, wanted] = [ours, reference].map((f) => [tf.tidy(f), ...valueAndGrads(() => project(f()), trained).grads]) as [tf.Tensor[], tf.Tensor[]];
      return Math.max(...got.map((each, i) => distance(each, wanted[i]!) / largest(wanted[i]!))) / ROUNDING;
    };

    it('are held in two bytes a value, and counted until they are disposed', () => {
      const before = engineOf().memory();
      const { frozen, plain } = pair([32, 16], 'w');
      plain.dispose();
      expect(frozen).toMatchObject({ dtype: 'bf16', shape: [32, 16], bytes: 1024 });
      expect(engineOf().memory()).toEqual({ ...before, frozenBytes: before.frozenBytes + 1024 });
      frozen.dispose();
      frozen.dispose();
      expect(engineOf().memory()).toEqual(before);
      expect(() => frozen.toTensor()).toThrow('A frozen weight of shape [32, 16] was used after it was disposed.');
    });

    it('give a bfloat16 checkpoint back bit for bit, and a float32 one rounded', () => {
      const values = normals([7, 5], 'w');
      const bits = bytesOf(values, 'BF16');
      const { frozen, plain } = pair([7, 5], 'w');
      expect([...bytesOf(plain.dataSync() as Float32Array, 'BF16')]).toEqual([...bits]);
      const rounded = engineOf().freeze({ name: 'w', shape: [7, 5], dtype: 'F32', bytes: () => new Uint8Array(values.buffer) }, 'bf16');
      expect(distance(rounded.toTensor(), frozen.toTensor())).toBe(0);
    });

    it('multiply and look up rows at once, as tied embeddings ask', () => {
      const { frozen, plain } = pair([7, 5], 'tied');
      const ids = Int32Array.from([6, 0, 6, 3]);
      expect(distance(engineOf().ops.embedding(frozen, ids), naive.embedding(plain, ids))).toBe(0);
      expect(compare(() => engineOf().ops.linear(constant([3, 5], 'x'), frozen), () => naive.linear(constant([3, 5], 'x'), plain), [])).toBeLessThan(3);
    });

    it('are the base of a linear layer whose bias and low-rank terms stay in float32', () => {
      const { frozen, plain } = pair([48, 32], 'w');
      const [x, own, bias] = [variable<Tensor2D>([9, 32], 'x'), variable<Tensor2D>([9, 3], 'own'), variable<Tensor1D>([48], 'bias')];
      const terms = [
        { a: variable<Tensor2D>([2, 32], 'a0'), b: variable<Tensor2D>([48, 2], 'b0'), scale: 2 },
        { input: own, a: variable<Tensor2D>([3, 3], 'a1'), b: variable<Tensor2D>([48, 3], 'b1'), scale: 0.25 },
      ];
      const trained = [x, own, bias, ...terms.flatMap(({ a, b }) => [a, b])] as Variable[];
      expect(compare(() => engineOf().ops.linear(x, frozen, bias, terms), () => naive.linear(x, plain, bias, terms), trained)).toBeLessThan(3);
      const adapters = trained.slice(1);
      const grads = (f: () => Tensor2D) => valueAndGrads(() => project(f()), adapters).grads;
      const [ours, reference] = [grads(() => engineOf().ops.linear(x, frozen, bias, terms)), grads(() => naive.linear(x, plain, bias, terms))];
      ours.forEach((grad, i) => expect(distance(grad, reference[i]!) / largest(reference[i]!)).toBeLessThan(1e-5));
    });

    it('are the output layer of a cross-entropy, also over more rows than one chunk has', () => {
      const [rows, vocabulary] = [37, 2 ** 17];
      const { frozen, plain } = pair([vocabulary, 2], 'w');
      const hidden = variable<Tensor2D>([rows, 2], 'h');
      const targets = Int32Array.from({ length: rows }, (_, i) => (i % 5 === 0 ? -100 : (i * 9973) % vocabulary));
      expect(compare(() => engineOf().ops.crossEntropy(hidden, frozen, targets), () => naive.crossEntropy(hidden, plain, targets), [hidden])).toBeLessThan(4);
    });

    it('leave no tensors behind', () => {
      const { frozen, plain } = pair([48, 32], 'w');
      plain.dispose();
      const [x, a, b] = [variable<Tensor2D>([9, 32], 'x'), variable<Tensor2D>([2, 32], 'a'), variable<Tensor2D>([48, 2], 'b')];
      const targets = Int32Array.from([1, 2, 3, 4, 5, 6, 7, 8, -100]);
      const loss = () => {
        const { linear, crossEntropy } = engineOf().ops;
        // A term may be made of what is trained, and be gone when the backward runs.
        const y = tf.tidy(() => linear(x, frozen, undefined, [{ a: tf.mul(a, 2), b: tf.mul(b, 3), scale: 2 }]));
        return tf.mean(crossEntropy(tf.slice(y, [0, 0], [9, 32]), frozen, targets)) as Scalar;
      };
      const step = (): void => {
        const { value, grads } = valueAndGrads(loss, [x, a, b]);
        value.dispose();
        grads.forEach((grad) => grad.dispose());
      };
      step();
      const { numTensors, numBytes } = tf.memory();
      step();
      expect(tf.memory()).toMatchObject({ numTensors, numBytes });
    });

    it('are kept in float32 where another type is asked for', () => {
      const values = normals([4, 3], 'w');
      const frozen = engineOf().freeze({ name: 'w', shape: [4, 3], dtype: 'F32', bytes: () => new Uint8Array(values.buffer) }, 'f16');
      expect(frozen.dtype).toBe('f32');
    });
  });
}
