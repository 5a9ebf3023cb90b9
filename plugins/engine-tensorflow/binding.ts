/** The part of tfjs-node that we use beneath tfjs: its backend, and the binding that runs TensorFlow's operations. */
import type { Tensor } from '@tensorflow/tfjs-core';

/** Names a tensor inside TensorFlow, of any of its types; whoever asked for it deletes it. */
export type Handle = number;

export interface Output {
  readonly id: Handle;
  readonly shape: number[];
  readonly dtype: number;
}

export interface Attribute {
  readonly name: string;
  readonly type: number;
  readonly value: number | boolean;
}

export interface Binding {
  readonly TF_FLOAT: number;
  readonly TF_INT32: number;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_Version: string;
  executeOp(name: string, attributes: readonly Attribute[], inputs: readonly Handle[], outputs: number): Output[];
  deleteTensor(id: Handle): void;
}

export interface NodeBackend {
  readonly binding: Binding;
  readonly isUsingGpuDevice: boolean;
  /** Handles of tensors, which stay theirs. */
  getInputTensorIds(tensors: readonly Tensor[]): Handle[];
  /** A tfjs tensor that takes a handle over. */
  createOutputTensor(output: Output): Tensor;
}

/** The backend as more than tfjs declares; undefined where it is another than tfjs-node's. */
export function nodeBackend(backend: object): NodeBackend | undefined {
  return 'binding' in backend && 'getInputTensorIds' in backend ? (backend as NodeBackend) : undefined;
}
