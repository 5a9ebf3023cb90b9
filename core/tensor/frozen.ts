/** Frozen weights as plain tfjs tensors. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { FrozenWeight, Weight, WeightDtype, WeightSource } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { toFloat32 } from './half.ts';

/**
 * A frozen `[out, in]` matrix in float32, held in the orientation that its uses ask for: a product by `W^T` wants
 * `[in, out]`, looking up rows wants `[out, in]`. Each is made when first asked for.
 */
export class TensorWeight implements FrozenWeight {
  readonly frozen = true;
  readonly dtype = 'f32' as const;
  readonly shape: readonly [number, number];
  #rows: Tensor2D | undefined;
  #columns: Tensor2D | undefined;
  #rowsAsked = false;

  /** @param rows `[out, in]`; taken over */
  constructor(rows: Tensor2D) {
    this.shape = rows.shape;
    this.#rows = tf.keep(rows);
  }

  get bytes(): number {
    const copies = Number(this.#rows !== undefined) + Number(this.#columns !== undefined);
    return copies * this.shape[0] * this.shape[1] * 4;
  }

  /** `[in, out]`; stays the weight's own. */
  columns(): Tensor2D {
    if (this.#columns === undefined) {
      this.#columns = tf.keep(tf.tidy(() => tf.transpose(this.#held('rows'))));
      if (!this.#rowsAsked) {
        this.#rows?.dispose();
        this.#rows = undefined;
      }
    }
    return this.#columns;
  }

  /** `[out, in]`; stays the weight's own. */
  rows(): Tensor2D {
    this.#rowsAsked = true;
    this.#rows ??= tf.keep(tf.tidy(() => tf.transpose(this.#held('columns'))));
    return this.#rows;
  }

  /** `[out, in]` for one use: made anew where only `[in, out]` is held, so call it inside a tidy. */
  rowsOnce(): Tensor2D {
    return this.#rows ?? tf.transpose(this.#held('columns'));
  }

  toTensor(): Tensor2D {
    return this.#rows !== undefined ? this.#rows.clone() : tf.transpose(this.#held('columns'));
  }

  dispose(): void {
    this.#rows?.dispose();
    this.#columns?.dispose();
    this.#rows = this.#columns = undefined;
  }

  #held(which: 'rows' | 'columns'): Tensor2D {
    const held = which === 'rows' ? this.#rows : this.#columns;
    if (held === undefined) throw new GraftError('WEIGHT_DISPOSED', `A frozen weight of shape [${this.shape.join(', ')}] was used after it was disposed.`);
    return held;
  }
}

/**
 * Takes a checkpoint's matrix over as float32; f16 and bf16 convert exactly.
 * @throws GraftError `WEIGHT_DTYPE` for int8 and nf4, which the portable operations do not have; `WEIGHT_SIZE` where bytes and shape disagree
 */
export function freezePortable(source: WeightSource, dtype: WeightDtype): FrozenWeight {
  if (dtype === 'int8' || dtype === 'nf4') {
    throw new GraftError('WEIGHT_DTYPE', `This engine cannot keep weights as ${dtype} (asked for ${source.name}).`, {
      hint: 'Choose f32, f16 or bf16, which it keeps as float32, or an engine that quantizes.',
    });
  }
  const [rows, columns] = source.shape;
  if (source.shape.length !== 2 || rows === undefined || columns === undefined) {
    throw new GraftError('WEIGHT_SHAPE', `Only matrices can be frozen; ${source.name} has shape [${source.shape.join(', ')}].`);
  }
  const values = toFloat32(source);
  return new TensorWeight(tf.keep(tf.tensor2d(values, [rows, columns])));
}

export function isFrozen(weight: Weight): weight is FrozenWeight {
  return 'frozen' in weight;
}

/** `[in, out]` of any weight; call it inside a tidy. */
export function columnsOf(weight: Weight): Tensor2D {
  if (!isFrozen(weight)) return tf.transpose(weight);
  return weight instanceof TensorWeight ? weight.columns() : tf.transpose(weight.toTensor());
}

/** `[out, in]` of any weight; call it inside a tidy. */
export function rowsOf(weight: Weight): Tensor2D {
  if (!isFrozen(weight)) return weight;
  return weight instanceof TensorWeight ? weight.rowsOnce() : weight.toTensor();
}
