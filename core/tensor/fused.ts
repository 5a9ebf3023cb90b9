/** Builds a differentiable operation from a forward and a backward that know which gradients are wanted. */
import * as tf from '@tensorflow/tfjs';
import type { GradSaveFunc, Tensor } from '@tensorflow/tfjs-core';
import { needsGradient } from './tape.ts';

/** Whether the gradient of a named input will be used. */
export type Wants<K extends string> = (name: K) => boolean;

/** An operation with its own backward. Frozen operands are captured by the closures and never named. */
export interface FusedOp<K extends string, Y extends Tensor> {
  /** The tensors that a gradient may be asked of. */
  readonly inputs: Readonly<Partial<Record<K, Tensor>>>;
  /** Computes the result and names what the backward needs. */
  forward(wants: Wants<K>): { readonly value: Y; readonly saved: readonly Tensor[] };
  /** Gradient of the result -> gradient of each wanted input; others are not looked at. */
  backward(dy: Y, saved: readonly Tensor[], wants: Wants<K>): Readonly<Partial<Record<K, Tensor>>>;
}

/** Runs a fused operation; nothing is saved and no backward recorded where no gradient is wanted. */
export function fused<K extends string, Y extends Tensor>(op: FusedOp<K, Y>): Y {
  const wanted = (Object.keys(op.inputs) as K[]).filter((name) => op.inputs[name] !== undefined && needsGradient(op.inputs[name]));
  const wants: Wants<K> = (name) => wanted.includes(name);
  if (wanted.length === 0) return tf.tidy(() => op.forward(wants).value);

  const run = tf.customGrad((...args) => {
    const save = args[args.length - 1] as GradSaveFunc;
    const { value, saved } = op.forward(wants);
    save([...saved]);
    return {
      value,
      gradFunc: (dy: Tensor, kept: Tensor[]) => {
        const gradients = op.backward(dy as Y, kept, wants);
        return wanted.map((name) => gradients[name]!);
      },
    };
  });
  return run(...wanted.map((name) => op.inputs[name]!)) as Y;
}
