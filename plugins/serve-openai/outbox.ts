/** What waits to be sent to one client. Pieces of one choice that wait together become one: a slow client makes longer chunks, not more. */
import type { AnsweredToken, AnswerPart, FinishReason } from './answer.ts';

export interface Parcel {
  readonly index: number;
  readonly text: string;
  readonly tokens: readonly AnsweredToken[];
  /** With the last of a choice. */
  readonly finishReason: FinishReason | undefined;
}

interface Waiting {
  text: string;
  readonly tokens: AnsweredToken[];
  finishReason: FinishReason | undefined;
}

export class Outbox {
  /** The one that waits longest comes first. */
  readonly #indexToWaiting = new Map<number, Waiting>();
  #closed: { readonly error: unknown } | 'whole' | undefined;
  #wake: (() => void) | undefined;

  add(index: number, part: AnswerPart): void {
    let waiting = this.#indexToWaiting.get(index);
    if (waiting === undefined) this.#indexToWaiting.set(index, (waiting = { text: '', tokens: [], finishReason: undefined }));
    if (part.type === 'text') {
      waiting.text += part.text;
      waiting.tokens.push(...part.tokens);
    } else {
      waiting.finishReason = part.finishReason;
    }
    this.#wake?.();
  }

  /** Nothing more comes. */
  close(end: { readonly error: unknown } | 'whole'): void {
    this.#closed ??= end;
    this.#wake?.();
  }

  /**
   * What comes, until closed.
   * @throws the error that it was closed with, after what came before it
   */
  async *parcels(): AsyncGenerator<Parcel> {
    for (;;) {
      const [first] = this.#indexToWaiting;
      if (first !== undefined) {
        const [index, waiting] = first;
        this.#indexToWaiting.delete(index);
        yield { index, ...waiting };
        continue;
      }
      if (this.#closed === 'whole') return;
      if (this.#closed !== undefined) throw this.#closed.error;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
  }
}
