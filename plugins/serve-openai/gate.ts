/** Admission: so many requests generate at once, so many wait in line, the rest are turned away. */
import { tooManyRequests } from './api-error.ts';

/** Waiting in line is short or long as the answers are; clients back off from here by themselves. */
const RETRY_AFTER_SECONDS = 1;

export class Gate {
  readonly #concurrent: number;
  readonly #queue: number;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  constructor(limits: { readonly concurrent: number; readonly queue: number }) {
    this.#concurrent = limits.concurrent;
    this.#queue = limits.queue;
  }

  /**
   * Waits for a turn, first come first served.
   * @returns gives the turn to the next; call it once
   * @throws ApiError 429 when the line is full; the signal's reason when the client leaves while waiting
   */
  async enter(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#running < this.#concurrent) {
      this.#running++;
    } else {
      if (this.#waiting.size >= this.#queue) throw tooManyRequests(this.#concurrent + this.#waiting.size, RETRY_AFTER_SECONDS);
      await this.#turn(signal);
    }
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#leave();
    };
  }

  /** A turn is handed over rather than freed, so that nobody who comes later can take it. */
  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#running--;
      return;
    }
    this.#waiting.delete(next);
    next();
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.delete(turn);
        reject(signal.reason as Error);
      };
      this.#waiting.add(turn);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}
