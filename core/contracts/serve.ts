/** What `serve` plugins stand on. */
import type { CausalLM, Tokenizer } from './model.ts';

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
  /** Undefined when there is no such model. */
  acquire(id: string): ServedModel | undefined;
}

export interface RunningServer {
  /** Such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Stops accepting, finishes what is in flight, then resolves. */
  close(): Promise<void>;
}
