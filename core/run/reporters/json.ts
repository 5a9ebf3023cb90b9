import type { RunEvent } from '../../contracts/index.ts';
import type { Subscriber } from '../events.ts';

/** One event a line as JSON, for programs. */
export class JsonReporter implements Subscriber {
  readonly name = 'JSON lines';
  readonly #write: (text: string) => void;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  receive(event: RunEvent): void {
    this.#write(`${JSON.stringify(event)}\n`);
  }
}
