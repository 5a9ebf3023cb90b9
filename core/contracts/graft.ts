/** What `inject` returns. */
import type { Variable } from '@tensorflow/tfjs-core';

/** A tensor that training changes. */
export interface Trainable {
  /** The name under which it is saved. */
  readonly name: string;
  readonly variable: Variable;
  /** Whether weight decay applies; default true, as in PyTorch's AdamW. */
  readonly decay?: boolean;
}

/** One strategy, grafted onto one model. */
export interface Graft {
  /** What people are shown, such as `lora`. */
  readonly name: string;
  readonly trainables: readonly Trainable[];
  /**
   * Writes the graft into an existing, empty folder in the ecosystem's format: PEFT's where PEFT has the method
   * (`adapter_config.json`, `adapter_model.safetensors`), AdapterHub's where only that has it.
   * @returns the names of the files written
   */
  save(dir: string): Promise<readonly string[]>;
  /** Replaces the values of the trainables by those in a folder that `save` or the peer wrote. Throws where one is missing, unknown or of another shape. */
  load(dir: string): Promise<void>;
  /** Folds the graft into the parameters it stands on, where the mathematics allow it; then the sites compute the same without it. */
  merge?(): Promise<void>;
  /** Takes the graft off its sites, restores them exactly, and disposes its tensors. */
  remove(): void;
}
