/** What a request changes in the model's choice of tokens: favours, penalties, and what may be said at all. */
import type { TokenConstraint } from 'graft';

export interface LogitChanges {
  /** Token id -> what is added to its logit. */
  readonly bias: ReadonlyMap<number, number>;
  /** Taken from a token's logit for each time that it has been said. */
  readonly frequencyPenalty: number;
  /** Taken once from each that has been said. */
  readonly presencePenalty: number;
}

/** OpenAI's formula: `logit[j] += bias[j] - count[j] * frequency_penalty - (count[j] > 0) * presence_penalty`, counted over the answer. */
export class LogitRules implements TokenConstraint {
  readonly #changes: LogitChanges;
  readonly #then: TokenConstraint | undefined;
  readonly #idToCount = new Map<number, number>();

  private constructor(changes: LogitChanges, then: TokenConstraint | undefined) {
    this.#changes = changes;
    this.#then = then;
  }

  /** @returns undefined where nothing is changed */
  static of(changes: LogitChanges, then: TokenConstraint | undefined): TokenConstraint | undefined {
    const idle = changes.bias.size === 0 && changes.frequencyPenalty === 0 && changes.presencePenalty === 0;
    return idle ? then : new LogitRules(changes, then);
  }

  mask(logits: Float32Array): void {
    const { bias, frequencyPenalty, presencePenalty } = this.#changes;
    for (const [id, added] of bias) logits[id]! += added;
    for (const [id, count] of this.#idToCount) logits[id]! -= count * frequencyPenalty + presencePenalty;
    this.#then?.mask(logits);
  }

  accept(id: number): void {
    this.#idToCount.set(id, (this.#idToCount.get(id) ?? 0) + 1);
    this.#then?.accept(id);
  }
}
