/** The part of tfjs's engine that records operations, typed, and a recording that keeps only what a backward will use. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs-core';
import './gradients.ts';

/** One recorded operation, as tfjs's engine makes it. */
export interface TapeNode {
  readonly kernelName: string;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: readonly Tensor[];
  /** Clones held for the backward; whoever drops the node disposes them. */
  readonly saved: readonly Tensor[];
  /** Gradients of the outputs (null: none) -> for each input's name a function that makes its gradient. */
  readonly gradient?: (dys: readonly (Tensor | null)[]) => Readonly<Record<string, () => Tensor>>;
}

interface EngineState {
  activeTape: TapeNode[] | null;
  gradientDepth: number;
  kernelDepth: number;
}

/** What `tf.engine()` is, beyond its declared type. */
interface RecordingEngine {
  readonly state: EngineState;
  startTape(): void;
  endTape(): void;
  isTapeOn(): boolean;
  nextTensorId(): number;
}

/**
 * Which saved tensors the gradient of each input reads, for operations that save more than one gradient needs. A product
 * with a constant, such as a frozen matrix, then holds nothing of its other operand.
 */
const SAVED_FOR_INPUT: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>> = {
  // Gradients that read shapes alone, which a tensor keeps when its memory is freed.
  ...Object.fromEntries(['Add', 'Sub', 'AddN', 'Sum', 'Mean', 'Cumsum', 'Reshape', 'ExpandDims', 'Concat', 'Pack', 'PadV2', 'Slice'].map((kernelName) => [kernelName, {}])),
  Multiply: { a: [1], b: [0] },
  RealDiv: { a: [1], b: [0, 1] },
  BatchMatMul: { a: [1], b: [0] },
};

export const engine = tf.engine() as unknown as RecordingEngine;

/**
 * A tape that tfjs pushes every differentiable operation to. Operations that do not depend on a root are not kept, and what
 * they saved is freed at once, so a model's layers below its lowest trained site cost the backward nothing.
 */
export class Recording extends Array<TapeNode> {
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }

  /** Ids of tensors that a root reaches. */
  readonly #dependents = new Set<number>();
  /** Clones that an operation in progress has saved; a failing operation never hands them to a node. */
  readonly #pending = new Set<Tensor>();

  constructor(roots: readonly Tensor[]) {
    super();
    for (const root of roots) this.#dependents.add(root.id);
  }

  /** Gradients flow through float32 alone: an integer or a condition made from a variable is a constant. */
  dependsOnRoot(tensor: Tensor): boolean {
    return this.#dependents.has(tensor.id);
  }

  override push(...nodes: TapeNode[]): number {
    for (const node of nodes) this.#record(node);
    return this.length;
  }

  /** Frees what is still held: of an operation that failed midway, and of every node left. */
  dispose(): void {
    for (const node of this) node.saved.forEach((tensor) => tensor.dispose());
    this.#pending.forEach((tensor) => tensor.dispose());
    this.#pending.clear();
    this.length = 0;
  }

  #record(node: TapeNode): void {
    const { state } = engine;
    // tfjs also records the clone that it makes of each saved tensor, from within the operation. Only gradients of
    // gradients need that, so it is kept only under a nested tf.grad.
    const isSavedClone = state.kernelDepth > 0;
    const nested = state.gradientDepth > 1;
    if (isSavedClone) node.outputs.forEach((tensor) => this.#pending.add(tensor));
    else node.saved.forEach((tensor) => this.#pending.delete(tensor));

    const depends = Object.values(node.inputs).some((input) => input != null && this.dependsOnRoot(input));
    if (depends && (!isSavedClone || nested)) {
      for (const output of node.outputs) if (output.dtype === 'float32') this.#dependents.add(output.id);
    }
    if (nested || (depends && !isSavedClone)) super.push(node);
    if (isSavedClone || nested) return;
    if (depends) this.#freeUnread(node);
    else node.saved.forEach((tensor) => tensor.dispose());
  }

  #freeUnread({ kernelName, inputs, saved }: TapeNode): void {
    const savedFor = SAVED_FOR_INPUT[kernelName];
    if (savedFor === undefined) return;
    const read = new Set(Object.entries(inputs).flatMap(([name, input]) => (this.dependsOnRoot(input) ? (savedFor[name] ?? []) : [])));
    saved.forEach((tensor, i) => {
      if (!read.has(i)) tensor.dispose();
    });
  }
}

/** Takes the place of a recording while something is computed that will be computed again: keeps nothing, and notes what it reads. */
export class Observer extends Recording {
  /** Tensors that a root of the outer recording reaches, by id. */
  readonly touched = new Map<number, Tensor>();
  readonly #outer: Recording;

  constructor(outer: Recording) {
    super([]);
    this.#outer = outer;
  }

  /** Of the outer recording's tensors it notes those that depend on a root; to whoever asks, nothing does. */
  override dependsOnRoot(tensor: Tensor): boolean {
    if (this.#outer.dependsOnRoot(tensor)) this.touched.set(tensor.id, tensor);
    return false;
  }
}
