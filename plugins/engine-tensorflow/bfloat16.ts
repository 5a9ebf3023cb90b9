/** Frozen weights in bfloat16, and products of float32 matrices with them, through TensorFlow's own operations. */
import { existsSync, readFileSync } from 'node:fs';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import { GraftError, tf, toFloat32, type FrozenWeight, type WeightSource } from 'graft';
import type { Attribute, Handle, NodeBackend, Output } from './binding.ts';

/** TensorFlow's number of the type. */
const TF_BFLOAT16 = 14;

/** Processor flags with which oneDNN multiplies bfloat16 faster than float32; without, at a third of its speed. */
const FAST = /^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b/m;

/** Whether products in bfloat16 are worth it on this machine. */
export function bfloat16Pays(gpu: boolean, cpuinfo = '/proc/cpuinfo'): boolean {
  return gpu || (existsSync(cpuinfo) && FAST.test(readFileSync(cpuinfo, 'utf8')));
}

/** TensorFlow's operations on handles: tfjs has no bfloat16. */
export class Bfloat16 {
  readonly #backend: NodeBackend;

  constructor(backend: NodeBackend) {
    this.#backend = backend;
  }

  /** A copy in bfloat16, rounded to nearest; the caller deletes it. */
  narrow(x: Tensor2D): Handle {
    return this.#cast(this.#backend.getInputTensorIds([x])[0]!, this.#backend.binding.TF_FLOAT, TF_BFLOAT16).id;
  }

  /** A bfloat16 matrix as a tensor in float32. */
  widen(matrix: Handle): Tensor2D {
    return this.#backend.createOutputTensor(this.#cast(matrix, TF_BFLOAT16, this.#backend.binding.TF_FLOAT)) as Tensor2D;
  }

  /** `x W`, or `x W^T`: x in float32 is rounded, the sums are float32 and rounded when they are whole. */
  product(x: Tensor2D, matrix: Handle, transposed: boolean): Tensor2D {
    const narrowed = this.narrow(x);
    try {
      return this.#widenAndDelete(this.#execute('MatMul', [this.#type('T', TF_BFLOAT16), this.#flag('transpose_a', false), this.#flag('transpose_b', transposed)], [narrowed, matrix]).id);
    } finally {
      this.delete(narrowed);
    }
  }

  /** Rows of a matrix `[V, d]`: ids `[T]` -> `[T, d]`. */
  rows(matrix: Handle, ids: Int32Array): Tensor2D {
    const { TF_INT32 } = this.#backend.binding;
    return tf.tidy(() => {
      const [indices, axis] = this.#backend.getInputTensorIds([tf.tensor1d(ids, 'int32'), tf.scalar(0, 'int32')]) as [Handle, Handle];
      const attributes = [this.#type('Tparams', TF_BFLOAT16), this.#type('Tindices', TF_INT32), this.#type('Taxis', TF_INT32)];
      return this.#widenAndDelete(this.#execute('GatherV2', attributes, [matrix, indices, axis]).id);
    });
  }

  delete(handle: Handle): void {
    this.#backend.binding.deleteTensor(handle);
  }

  #widenAndDelete(handle: Handle): Tensor2D {
    try {
      return this.widen(handle);
    } finally {
      this.delete(handle);
    }
  }

  #cast(handle: Handle, from: number, to: number): Output {
    return this.#execute('Cast', [this.#type('SrcT', from), this.#type('DstT', to), this.#flag('Truncate', false)], [handle]);
  }

  #execute(name: string, attributes: readonly Attribute[], inputs: readonly Handle[]): Output {
    return this.#backend.binding.executeOp(name, attributes, inputs, 1)[0]!;
  }

  #type(name: string, value: number): Attribute {
    return { name, type: this.#backend.binding.TF_ATTR_TYPE, value };
  }

  #flag(name: string, value: boolean): Attribute {
    return { name, type: this.#backend.binding.TF_ATTR_BOOL, value };
  }
}

/** A frozen `[out, in]` matrix in bfloat16: products in both orientations run on the one copy. */
export class Bfloat16Weight implements FrozenWeight {
  readonly frozen = true;
  readonly dtype = 'bf16' as const;
  readonly shape: readonly [number, number];
  readonly bytes: number;
  readonly #ops: Bfloat16;
  readonly #onDispose: () => void;
  #matrix: Handle | undefined;

  /**
   * Takes a checkpoint's matrix over, a bfloat16 one exactly, others rounded.
   * @param onDispose called once
   */
  constructor(ops: Bfloat16, source: WeightSource, onDispose: () => void) {
    const [out, size] = source.shape as [number, number];
    this.#ops = ops;
    this.#onDispose = onDispose;
    this.shape = [out, size];
    this.bytes = out * size * 2;
    const values = tf.tensor2d(toFloat32(source), [out, size]);
    this.#matrix = ops.narrow(values);
    values.dispose();
  }

  /** `x W^T`: x `[T, in]` -> `[T, out]` */
  timesColumns(x: Tensor2D): Tensor2D {
    return this.#ops.product(x, this.#held(), true);
  }

  /** `y W`: y `[T, out]` -> `[T, in]` */
  timesRows(y: Tensor2D): Tensor2D {
    return this.#ops.product(y, this.#held(), false);
  }

  /** ids `[T]` -> `[T, in]` */
  lookup(ids: Int32Array): Tensor2D {
    return this.#ops.rows(this.#held(), ids);
  }

  toTensor(): Tensor2D {
    return this.#ops.widen(this.#held());
  }

  dispose(): void {
    if (this.#matrix === undefined) return;
    this.#ops.delete(this.#matrix);
    this.#matrix = undefined;
    this.#onDispose();
  }

  #held(): Handle {
    if (this.#matrix === undefined) throw new GraftError('WEIGHT_DISPOSED', `A frozen weight of shape [${this.shape.join(', ')}] was used after it was disposed.`);
    return this.#matrix;
  }
}
