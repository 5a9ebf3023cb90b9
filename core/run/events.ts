import { closeSync, fsyncSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';
import type { Disposer, Logger, RunEvent } from '../contracts/index.ts';
import { reasonOf } from '../kernel/errors.ts';

/** Is told of everything that a run does. */
export interface Subscriber {
  /** What a report of its failure calls it. */
  readonly name: string;
  receive(event: RunEvent): void;
}

/** Tells subscribers in the order that they came. One that throws is reported and dropped; the run and the others go on. */
export class Events {
  readonly #subscribers = new Set<Subscriber>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** @returns a function that ends the subscription */
  subscribe(subscriber: Subscriber): Disposer {
    this.#subscribers.add(subscriber);
    return () => void this.#subscribers.delete(subscriber);
  }

  /** Never throws. */
  emit(event: RunEvent): void {
    for (const subscriber of [...this.#subscribers]) {
      try {
        subscriber.receive(event);
      } catch (error) {
        this.#subscribers.delete(subscriber);
        this.#log.warn(`The run's subscriber ${subscriber.name} failed and is told nothing more: ${reasonOf(error)}`);
      }
    }
  }
}

/** Progress of a download is for the moment; everything else is the run's record. */
const RECORDED = (event: RunEvent): boolean => event.type !== 'progress';

/** events.jsonl: one event a line, with the time it happened. */
export class EventLog implements Subscriber {
  readonly name = 'events.jsonl';
  readonly #file: number;
  #bytes: number;
  #failure: unknown;

  /** @param keepBytes what of an existing file belongs to the run; the rest is cut off */
  constructor(path: string, keepBytes = 0) {
    this.#file = openSync(path, 'a');
    this.#bytes = Math.min(keepBytes, statSync(path).size);
    ftruncateSync(this.#file, this.#bytes);
  }

  receive(event: RunEvent): void {
    if (!RECORDED(event)) return;
    const line = Buffer.from(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`);
    try {
      // A disk that is nearly full takes a part.
      for (let written = 0; written < line.length; ) written += writeSync(this.#file, line, written);
      this.#bytes += line.length;
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  /** @throws what kept an event from being written: a run does not go on with gaps in its record */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Makes what was written durable. Returns its length in bytes. */
  sync(): number {
    this.check();
    fsyncSync(this.#file);
    return this.#bytes;
  }

  close(): void {
    closeSync(this.#file);
  }
}
