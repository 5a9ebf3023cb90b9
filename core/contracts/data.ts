/** Packed token sequences. No padding anywhere; attention never crosses an offset. */

/** N examples of T tokens in all. */
export interface Packed {
  /** `[T]` */
  readonly inputIds: Int32Array;
  /** `[T]`, aligned with `inputIds` as in Hugging Face datasets (not shifted); -100: no loss on this token. */
  readonly labels: Int32Array;
  /** `[N+1]`, from 0 to T, strictly increasing: example i is the tokens `offsets[i]` to `offsets[i+1]`. */
  readonly offsets: Int32Array;
}

/** What a model is run on: a packed batch with the position of each token in its own example (plus cached tokens). */
export interface PackedBatch extends Packed {
  /** `[T]` */
  readonly positions: Int32Array;
}

/** Where an example came from and what was done to it: what `graft preview` shows. */
export interface ExampleInfo {
  /** Absolute path of the file. */
  readonly file: string;
  /** 1-based line in a text file, row in a table. */
  readonly line: number;
  /** Tokens before truncation. */
  readonly fullLength: number;
  /** Tokens cut off by `max_length`. */
  readonly truncated: number;
  /** Whether the token that ends the assistant's turn is trained on; undefined for plain text. */
  readonly endOfTurnTrained?: boolean;
}

export interface DatasetStats {
  /** A pair is two. */
  readonly examples: number;
  readonly tokens: number;
  readonly trainedTokens: number;
  readonly truncatedExamples: number;
  readonly badRows: number;
}

/**
 * What `preprocess` makes: sequences of one or more packed examples each, never longer than `max_length`; where they are
 * pairs, neither half is.
 */
export interface Dataset {
  /**
   * Set where every sequence is a pair: two segments of one prompt, first the preferred completion and then the other. A
   * trainer that does not compare must refuse it.
   */
  readonly preferences?: true;
  readonly train: readonly Packed[];
  readonly eval: readonly Packed[];
  /** One entry per example of `train`, in the order they are packed. */
  readonly info: readonly ExampleInfo[];
  /** The same for `eval`, where the plugin says. */
  readonly evalInfo?: readonly ExampleInfo[];
  /** Of `train`; bad rows of both. */
  readonly stats: DatasetStats;
}
