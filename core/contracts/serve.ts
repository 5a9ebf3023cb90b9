/** What `serve` plugins stand on. */
import type { CausalLM, Tokenizer } from './model.ts';

/** How the next token is chosen. */
export interface SamplingOptions {
  /** 0: always the likeliest; 1: as the model says; in between sharper. Default 0. */
  readonly temperature?: number;
  /** Only the likeliest tokens whose probabilities add up to this (Holtzman et al. 2020). Default 1: all. */
  readonly topP?: number;
  /** Only this many of the likeliest. Default: all. */
  readonly topK?: number;
  /** The same seed chooses the same tokens. Default 0. */
  readonly seed?: number;
  /** Whether the chosen token's probability is computed, which takes a look at the whole vocabulary. Default true. */
  readonly logprobs?: boolean;
  /** So many of the likeliest tokens are told beside the chosen one, where `logprobs` are. Default 0. */
  readonly topLogprobs?: number;
}

/** A token and the natural logarithm of its probability under the model itself, whatever the temperature. */
export interface TokenLogprob {
  readonly id: number;
  /** NaN where `logprobs: false` was asked for. */
  readonly logprob: number;
}

export interface SampledToken extends TokenLogprob {
  /** The likeliest, in falling order, where `topLogprobs` asks for them. */
  readonly top?: readonly TokenLogprob[];
  /** With the first token of a served model: how many of the prompt's tokens had been computed for another text before. */
  readonly cachedTokens?: number;
}

/** What may be said: constrained decoding. One for each generation; disposed by whoever made it. */
export interface TokenConstraint {
  /** Sets the logits `[V]` of the tokens that may not come next to -Infinity. */
  mask(logits: Float32Array): void;
  /** Is told of each token chosen, in order. */
  accept(id: number): void;
}

/** A text to go on with. */
export interface GenerationRequest extends SamplingOptions {
  /** The prompt, special tokens included. */
  readonly inputIds: ArrayLike<number>;
  readonly maxTokens: number;
  /** Generation ends after any of these, which is yielded too. */
  readonly stopTokenIds?: readonly number[];
  readonly constraint?: TokenConstraint;
  readonly signal?: AbortSignal;
}

/** A model as a request sees it; held for the length of the request, so that a swap never takes it away in the middle. */
export interface ServedModel {
  /** The name that a request's `model` says. */
  readonly id: string;
  readonly model: CausalLM;
  readonly tokenizer: Tokenizer;
  /** The stack to run with: undefined for the base model. */
  readonly stack: string | undefined;
  /** Changes whenever the code behind the answers does: 12 hex digits of a sha256 over the generations of the plugins. */
  readonly fingerprint: string;
  /** Tokens that prompt and answer may have together: what the model takes, or less where the memory for keys and values is short. */
  readonly contextLength: number;
  /**
   * Yields tokens until one of `stopTokenIds` or `maxTokens`, in one batch with whatever else is generated. Call it several
   * times for several answers; a prompt that begins as one before is not computed again.
   * @throws GraftError `PROMPT_EMPTY`, `CONTEXT_LENGTH`, `SAMPLING_OPTION`, `LOGITS_NOT_FINITE`, `CONSTRAINT_EMPTY`, what a
   *   strategy throws; the signal's reason when it fires
   */
  readonly generate: (request: GenerationRequest) => AsyncIterable<SampledToken>;
  /** The last hidden state of each text's last token, `[hidden_size]` each, not normalised. */
  readonly embed: (inputIds: readonly ArrayLike<number>[], signal?: AbortSignal) => Promise<readonly Float32Array[]>;
  release(): void;
}

export interface ServedModelInfo {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  /** The base model's id, for an adapted one. */
  readonly parent?: string;
}

export interface ServedModels {
  list(): readonly ServedModelInfo[];
  /**
   * Holds a model for a request; an adapter that is not in memory is loaded first.
   * @returns undefined where there is no such model
   * @throws GraftError `ADAPTER_BROKEN` where it is there and can't be served, with the reason; the signal's reason when it fires
   */
  acquire(id: string, signal?: AbortSignal): Promise<ServedModel | undefined>;
}

export interface RunningServer {
  /** Such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Stops accepting, finishes what is in flight, then resolves. */
  close(): Promise<void>;
}
