import { GraftError, type Weight } from 'graft';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { NativeWeight } from '../frozen.ts';

/** A matrix operand as native/ops reads it: `[0, weight]` frozen, `[1, tensor]` a tensor that may be trained. */
export interface Matrix {
  readonly args: readonly [kind: 0 | 1, id: number];
  /** Undefined where frozen. */
  readonly tensor: Tensor2D | undefined;
}

/** @throws GraftError `WEIGHT_FOREIGN` for a weight that another engine froze */
export function matrixOf(backend: NativeBackend, weight: Weight): Matrix {
  if (!('frozen' in weight)) return { args: [1, backend.id(weight)], tensor: weight };
  if (!(weight instanceof NativeWeight)) throw new GraftError('WEIGHT_FOREIGN', 'A weight that another engine froze was given to engine native.');
  return { args: [0, weight.heldId()], tensor: undefined };
}
