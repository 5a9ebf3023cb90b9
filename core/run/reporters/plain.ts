import pc from 'picocolors';
import type { RunEvent } from '../../contracts/index.ts';
import type { Subscriber } from '../events.ts';
import { linesOf, Pace, stepText } from './lines.ts';

/** Step lines in a whole run, about. */
const STEP_LINES = 50;

/** Lines that stay, without colour or cursor movement: for files, pipes and CI. */
export class PlainReporter implements Subscriber {
  readonly name = 'plain lines';
  readonly #write: (text: string) => void;
  readonly #pace = new Pace();

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  receive(event: RunEvent): void {
    if (event.type === 'step') {
      this.#pace.add(event);
      const every = Math.max(1, Math.floor(event.totalSteps / STEP_LINES));
      if (event.step === 1 || event.step === event.totalSteps || event.step % every === 0) {
        this.#write(`${stepText(event, this.#pace.tokensPerSecond, this.#pace.secondsLeft(event.totalSteps - event.step))}\n`);
      }
      return;
    }
    for (const line of linesOf(event, pc.createColors(false))) this.#write(`${line}\n`);
  }
}
