/** All answers of one request, generated at the same time: they share the model's batch. */
import { setMaxListeners } from 'node:events';
import type { ServedModel } from 'graft';
import { answer, type AnsweredToken, type AnswerPart, type FinishReason } from './answer.ts';
import { grammarOf, JsonConstraint } from './json/constraint.ts';
import type { Parameters } from './parameters.ts';

/** One prompt of a request and how long its answers may be. */
export interface Ask {
  readonly prompt: Int32Array;
  readonly maxTokens: number;
}

/** A whole answer. */
export interface Choice {
  readonly index: number;
  readonly text: string;
  readonly tokens: readonly AnsweredToken[];
  readonly finishReason: FinishReason;
}

export interface Work {
  readonly served: ServedModel;
  readonly asks: readonly Ask[];
  readonly parameters: Parameters;
  readonly continues: boolean;
  readonly signal: AbortSignal;
}

/** Answers of one request that are generated at once: one that asks for hundreds leaves room in the batch for others. */
const MOST_AT_ONCE = 32;

/**
 * Generates every choice of every prompt; choice i of prompt p has the index p n + i, and the seed plus i.
 * @param onPart is told what comes, choices in turn; each ends with a part of its own
 * @throws the first failure, once all have ended
 */
export async function generateChoices({ served, asks, parameters, continues, signal }: Work, onPart: (index: number, part: AnswerPart) => void): Promise<void> {
  const { n, seed, json, ...how } = parameters;
  const grammar = json === undefined ? undefined : grammarOf(served.tokenizer, json.schema);
  const failed = new AbortController();
  const until = AbortSignal.any([signal, failed.signal]);
  setMaxListeners(MOST_AT_ONCE + 1, until);
  const total = asks.length * n;
  let next = 0;
  const work = async (): Promise<void> => {
    try {
      while (next < total) {
        const index = next++;
        const constraint = grammar === undefined ? undefined : new JsonConstraint(grammar);
        for await (const part of answer({ served, ...asks[Math.floor(index / n)]!, ...how, json: constraint, seed: seedOf(seed, index % n), continues, signal: until })) onPart(index, part);
      }
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(MOST_AT_ONCE, total) }, work));
  const failure = ends.find((end) => end.status === 'rejected');
  if (signal.aborted) throw signal.reason;
  if (failure !== undefined) throw failed.signal.reason;
}

/** The next seeds, of 32 bits. A seed may be so large that a double swallows what is added to it. */
const seedOf = (seed: number, choice: number): number => ((seed >>> 0) + choice) >>> 0;

/** Puts the parts of several answers together, in the order of their indices. */
export class Collected {
  readonly #indexToText = new Map<number, { text: string; tokens: AnsweredToken[] }>();
  readonly #choices: Choice[] = [];

  add(index: number, part: AnswerPart): void {
    const soFar = this.#indexToText.get(index) ?? { text: '', tokens: [] };
    this.#indexToText.set(index, soFar);
    if (part.type === 'text') {
      soFar.text += part.text;
      soFar.tokens.push(...part.tokens);
    } else this.#choices.push({ index, ...soFar, finishReason: part.finishReason });
  }

  get choices(): readonly Choice[] {
    return this.#choices.sort((a, b) => a.index - b.index);
  }
}
