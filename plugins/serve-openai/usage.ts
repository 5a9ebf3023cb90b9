/** Tokens of one request, as its answer counts them. */
import type { AnswerPart } from './answer.ts';
import type { Ask } from './choices.ts';

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  /** `cached_tokens`: those of the prompts that no choice had to compute. */
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

export class UsageCount {
  readonly promptTokens: number;
  completionTokens = 0;
  readonly #n: number;
  /** By prompt, the fewest of any of its choices: the others have theirs from the first. */
  readonly #cached: (number | undefined)[];

  /** @param n choices of each prompt */
  constructor(asks: readonly Ask[], n: number) {
    this.promptTokens = asks.reduce((sum, { prompt }) => sum + prompt.length, 0);
    this.#n = n;
    this.#cached = asks.map(() => undefined);
  }

  add(index: number, part: AnswerPart): void {
    if (part.type !== 'end') return;
    const ask = Math.floor(index / this.#n);
    this.completionTokens += part.completionTokens;
    this.#cached[ask] = Math.min(this.#cached[ask] ?? Infinity, part.cachedTokens);
  }

  get usage(): Usage {
    const { promptTokens, completionTokens } = this;
    const cached = this.#cached.reduce<number>((sum, tokens) => sum + (tokens ?? 0), 0);
    return { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: promptTokens + completionTokens, prompt_tokens_details: { cached_tokens: cached } };
  }
}
