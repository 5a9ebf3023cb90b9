import pc from 'picocolors';
import type { RunEvent } from '../../contracts/index.ts';
import type { Subscriber } from '../events.ts';
import { formatBytes, formatCount } from './format.ts';
import { linesOf, Pace, stepText } from './lines.ts';

/** What the reporter draws on. */
export interface TerminalOutput {
  readonly columns?: number;
  write(text: string): unknown;
}

const CLEAR_LINE = '\r\u001b[2K';
const MAX_BAR = 30;

/** Lines that stay, and below them one that shows how far the run is. */
export class TerminalReporter implements Subscriber {
  readonly name = 'terminal';
  readonly #output: TerminalOutput;
  readonly #pace = new Pace();
  #live = '';

  constructor(output: TerminalOutput) {
    this.#output = output;
  }

  receive(event: RunEvent): void {
    if (event.type === 'step') {
      this.#pace.add(event);
      this.#draw(event.step / event.totalSteps, stepText(event, this.#pace.tokensPerSecond, this.#pace.secondsLeft(event.totalSteps - event.step)));
    } else if (event.type === 'progress') {
      const amount = event.unit === 'bytes' ? `${formatBytes(event.done)} of ${formatBytes(event.total)}` : `${formatCount(event.done)} of ${formatCount(event.total)} ${event.unit}`;
      this.#draw(event.total === 0 ? 1 : event.done / event.total, `${event.label}  ${amount}`);
    } else {
      if (event.type === 'stage' && event.state === 'done' && event.stage !== 'train') this.#live = '';
      if (event.type === 'train-ended' || event.type === 'run-ended') this.#keep();
      const lines = linesOf(event, pc);
      if (lines.length > 0) this.#output.write(`${CLEAR_LINE}${lines.join('\n')}\n${this.#live}`);
    }
  }

  #draw(share: number, text: string): void {
    // A pseudo-terminal that nobody has sized says 0.
    const columns = this.#output.columns || 80;
    const width = Math.max(0, Math.min(MAX_BAR, columns - text.length - 9));
    const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
    const bar = width < 5 ? '' : `${pc.green('━'.repeat(filled))}${pc.dim('─'.repeat(width - filled))} `;
    const percent = `${Math.floor(100 * share)} %`.padStart(5);
    this.#live = `${bar}${percent}  ${text.slice(0, Math.max(0, columns - 8 - (bar === '' ? 0 : width + 1)))}`;
    this.#output.write(CLEAR_LINE + this.#live);
  }

  /** The live line has reached its end and becomes one that stays. */
  #keep(): void {
    if (this.#live !== '') this.#output.write('\n');
    this.#live = '';
  }
}
