/** One text being generated: what it has so far, and whom its tokens go to. */
import type { GenerationRequest, KVCache, SampledToken } from '../contracts/index.ts';
import { sampler, type Choose } from '../tensor/sampling.ts';

export class Sequence {
  /** Undefined: the base model. */
  readonly stack: string | undefined;
  readonly request: GenerationRequest;
  readonly #choose: Choose;
  readonly #stops: ReadonlySet<number>;
  readonly #made: SampledToken[] = [];
  #given = 0;
  #wake: (() => void) | undefined;
  #end: { readonly error: unknown } | 'whole' | undefined;
  /** Prompt and answer; the first `cached` of them are in the cache. */
  tokens: number[];
  cache: KVCache | undefined;
  /** Tokens of the prompt that others had computed when it joined the batch first. */
  shared: number | undefined;
  readonly submittedAt = performance.now();
  /** Resolves when the batch has let go of it: only then may its stack leave the model. */
  readonly left: Promise<void>;
  /** Called by the batch. */
  leave!: () => void;
  lastTokenAt = 0;

  /** @throws GraftError `SAMPLING_OPTION` */
  constructor(stack: string | undefined, request: GenerationRequest) {
    this.stack = stack;
    this.request = request;
    this.tokens = Array.from(request.inputIds);
    this.#choose = sampler(request);
    this.#stops = new Set(request.stopTokenIds);
    if (request.maxTokens === 0) this.#end = 'whole';
    this.left = new Promise((resolve) => (this.leave = resolve));
  }

  get cached(): number {
    return this.cache?.length ?? 0;
  }

  /** Tokens that are yet to go through the model before the next can be chosen. */
  get pending(): number {
    return this.tokens.length - this.cached;
  }

  get made(): number {
    return this.#made.length;
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** Whether it ended as it should. */
  get whole(): boolean {
    return this.#end === 'whole';
  }

  /** Chooses the next token from logits `[V]`, which are used up. */
  advance(logits: Float32Array): void {
    const { constraint, maxTokens } = this.request;
    const chosen = this.#choose(logits, constraint);
    const token: SampledToken = this.#made.length === 0 ? { ...chosen, cachedTokens: this.shared } : chosen;
    constraint?.accept(token.id);
    this.tokens.push(token.id);
    this.#made.push(token);
    if (this.#stops.has(token.id) || this.#made.length >= maxTokens) this.#end = 'whole';
    this.#tell();
  }

  fail(error: unknown): void {
    this.#end ??= { error };
    this.#tell();
  }

  /** The tokens as they come; the sequence ends, failed or whole, with the iteration. */
  async *stream(): AsyncGenerator<SampledToken, void, undefined> {
    for (;;) {
      while (this.#given < this.#made.length) yield this.#made[this.#given++]!;
      if (this.#end === 'whole') return;
      if (this.#end !== undefined) throw this.#end.error;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Frees the cache; the tokens stay, so that it can be computed again. */
  releaseCache(): void {
    this.cache?.dispose();
    this.cache = undefined;
  }

  #tell(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
