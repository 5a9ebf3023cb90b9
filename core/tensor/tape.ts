/** Reverse-mode differentiation over tfjs's own recording, with a backward that frees as it goes. */
import * as tf from '@tensorflow/tfjs';
import type { Scalar, Tensor, Variable } from '@tensorflow/tfjs-core';
import type { ValueAndGrads } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { engine, Observer, Recording, type TapeNode } from './recording.ts';

let active: Recording | undefined;

/**
 * Whether a gradient will flow to a tensor: inside `valueAndGrads`, when a variable reaches it; under tfjs's own `tf.grad`,
 * always; otherwise never. Fused operations ask it to compute and save no more than is used.
 */
export function needsGradient(tensor: Tensor): boolean {
  if (!engine.isTapeOn()) return false;
  return active === undefined || engine.state.gradientDepth > 1 || active.dependsOnRoot(tensor);
}

/**
 * Runs `f` and differentiates its result with respect to `variables`.
 *
 * Unlike tf.variableGrads, operations that no variable reaches are not recorded, and each saved tensor and each
 * intermediate gradient is disposed as soon as its last use has passed. tf.grad may be used inside `f`.
 *
 * @param f returns the scalar loss; what else it makes is disposed
 * @returns the loss and a gradient for each variable, zeros for one that the loss does not depend on; the caller disposes them
 * @throws GraftError `NESTED_GRADIENTS` inside another gradient computation; whatever `f` throws, with nothing leaked
 */
export function valueAndGrads(f: () => Scalar, variables: readonly Variable[]): ValueAndGrads {
  if (active !== undefined || engine.state.gradientDepth > 0) {
    throw new GraftError('NESTED_GRADIENTS', 'valueAndGrads was called inside another gradient computation.', {
      hint: 'Use tf.grad inside the function for a gradient of a gradient.',
    });
  }
  const recording = new Recording(variables);
  try {
    const value = record(() => scalarOf(f()), recording);
    return { value, grads: differentiateBack(recording, value, tf.onesLike(value), variables) };
  } finally {
    recording.dispose();
  }
}

function describe(value: unknown): string {
  return value instanceof tf.Tensor ? `a tensor of shape [${value.shape.join(', ')}]` : typeof value;
}

function scalarOf(value: Scalar): Scalar {
  if (value instanceof tf.Tensor && value.rank === 0) return value;
  throw new GraftError('LOSS_NOT_SCALAR', `The function given to valueAndGrads must return a scalar, not ${describe(value)}.`);
}

/** Runs `f` with a recording of its own; the result is a tensor of its own, whatever f returned, and the caller's. */
function record<T extends Tensor>(f: () => T, recording: Recording): T {
  engine.startTape();
  engine.state.activeTape = recording;
  active = recording;
  try {
    return tf.tidy(() => f().clone() as T);
  } finally {
    active = undefined;
    engine.endTape();
    engine.state.activeTape = null;
  }
}

/**
 * Walks the recording from its end; `gradients` holds those whose producer has not been reached yet.
 * @param dy gradient of `value`; taken over
 */
function differentiateBack(recording: Recording, value: Tensor, dy: Tensor, inputs: readonly Tensor[]): Tensor[] {
  const gradients = new Map<number, Tensor>();
  try {
    if (recording.dependsOnRoot(value)) gradients.set(value.id, tf.keep(dy));
    else dy.dispose();
    for (let node = recording.pop(); node !== undefined; node = recording.pop()) {
      try {
        propagate(node, recording, gradients);
      } finally {
        node.saved.forEach((tensor) => tensor.dispose());
      }
    }
    return inputs.map((input) => gradients.get(input.id)?.clone() ?? tf.zerosLike(input));
  } finally {
    gradients.forEach((gradient) => gradient.dispose());
  }
}

/**
 * `f(x)`, of which nothing but x is kept for the backward: there f runs once more (Chen et al. 2016, arXiv:1604.06174). Outside of
 * `valueAndGrads`, and where f reads a tensor besides x that a trained tensor reaches and that is not a variable, it is plain `f(x)`.
 *
 * @param f must give the same both times, dropout included; may read variables and constants that outlive the backward
 */
export function recomputed<X extends Tensor, Y extends Tensor>(f: (x: X) => Y, x: X): Y {
  const outer = active;
  if (outer === undefined || engine.state.gradientDepth > 1) return f(x);
  const observer = new Observer(outer);
  const [y, kept] = observed(observer, outer, () => [tf.tidy(() => f(x).clone() as Y), tf.keep(x.clone() as X)] as const);
  const variables = [...observer.touched.values()].filter((tensor) => tensor.id !== x.id);
  const differentiable = observer.touched.has(x.id);
  if (variables.length === 0 && !differentiable) {
    kept.dispose();
    return y;
  }
  if (!variables.every((tensor) => tensor instanceof tf.Variable)) {
    tf.dispose([y, kept]);
    return f(x);
  }
  const roots = differentiable ? [kept, ...variables] : variables;
  const inputs = Object.fromEntries((differentiable ? [x, ...variables] : variables).map((tensor, i) => [i, tensor]));
  const gradient: TapeNode['gradient'] = ([dy]) => {
    const recording = new Recording(roots);
    try {
      const again = record(() => f(kept), recording);
      const gradients = differentiateBack(recording, again, dy!.clone(), roots);
      again.dispose();
      return Object.fromEntries(gradients.map((each, i) => [i, () => each]));
    } finally {
      recording.dispose();
    }
  };
  outer.push({ kernelName: 'Recomputed', inputs, outputs: [y], saved: [kept], gradient });
  return y;
}

/** Runs `f` with nothing recorded but what it touches. */
function observed<T>(observer: Observer, outer: Recording, f: () => T): T {
  engine.state.activeTape = observer;
  active = observer;
  try {
    return f();
  } finally {
    observer.dispose();
    active = outer;
    engine.state.activeTape = outer;
  }
}

type NamedInput = readonly [name: string, input: Tensor];

function propagate(node: TapeNode, recording: Recording, gradients: Map<number, Tensor>): void {
  const dys = node.outputs.map((output) => gradients.get(output.id) ?? null);
  if (dys.every((dy) => dy === null)) return;
  const wanted = Object.entries(node.inputs).filter(([, input]) => input != null && recording.dependsOnRoot(input));
  const dxs = differentiate(node, dys, wanted);
  for (const output of node.outputs) {
    gradients.get(output.id)?.dispose();
    gradients.delete(output.id);
  }
  wanted.forEach(([, input], i) => accumulate(gradients, input, dxs[i]!));
}

/** Gradients of the wanted inputs, each a tensor of its own that the caller disposes. */
function differentiate(node: TapeNode, dys: readonly (Tensor | null)[], wanted: readonly NamedInput[]): Tensor[] {
  const { gradient, kernelName } = node;
  if (gradient === undefined) {
    throw new GraftError('NO_GRADIENT', `The operation ${kernelName} has no gradient, and a trained tensor reaches it.`, {
      hint: 'Use another operation there, or write its gradient with tf.customGrad.',
    });
  }
  const lastOutside = engine.nextTensorId();
  const taken = new Set<number>();
  return tf.tidy(() => {
    const byName = gradient(dys);
    return wanted.map(([name, input]) => {
      const dx = tf.tidy(() => byName[name]?.());
      if (dx === undefined) throw new GraftError('NO_GRADIENT', `The operation ${kernelName} has no gradient for its input ${name}, and a trained tensor reaches it.`);
      if (dx.dtype !== 'float32' || !tf.util.arraysEqual(dx.shape, input.shape)) {
        throw new GraftError('BAD_GRADIENT', `The gradient of ${kernelName} for its input ${name} is ${dx.dtype} [${dx.shape.join(', ')}], and must be float32 [${input.shape.join(', ')}].`);
      }
      // A gradient may be a tensor that others hold: dy itself, a constant, or one for two inputs.
      const shared = dx.id <= lastOutside || taken.has(dx.id);
      taken.add(dx.id);
      return shared ? dx.clone() : dx;
    });
  });
}

function accumulate(gradients: Map<number, Tensor>, input: Tensor, dx: Tensor): void {
  const held = gradients.get(input.id);
  if (held === undefined) {
    gradients.set(input.id, tf.keep(dx));
    return;
  }
  gradients.set(input.id, tf.keep(tf.tidy(() => tf.add(held, dx))));
  held.dispose();
  dx.dispose();
}
