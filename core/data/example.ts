import type { ExampleInfo } from '../contracts/index.ts';

/** One tokenised example on its way into a dataset. */
export interface Example {
  /** `[T]`, at least one. */
  readonly inputIds: Int32Array;
  /** `[T]`, aligned with `inputIds`; -100: no loss on this token. */
  readonly labels: Int32Array;
  readonly info: ExampleInfo;
}
