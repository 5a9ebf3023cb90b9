/** A run, or a model that is served, in a process of its own, as the host sees it. */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { residentBytes } from './resident.ts';
import type { FromChild, Order, RunEnd, StopReason, ToChild } from './protocol.ts';

const ENTRY = fileURLToPath(new URL('./child/entry.mjs', import.meta.url));
/** Lines of its output that are kept for when it dies. */
const KEPT_LINES = 20;
const LONGEST_LINE = 10_000;
/** Milliseconds between two looks at its memory. */
const LOOK_MS = 500;
/** Milliseconds until its first sign of life, at least. */
const START_MS = 120_000;
/** Milliseconds that its outputs are read after it has ended. */
const OUTPUT_MS = 500;
/** What V8, C++ and Node write last when they can't have more memory. */
const OUT_OF_MEMORY = /heap out of memory|std::bad_alloc|Array buffer allocation failed|Cannot allocate memory|\bENOMEM\b/;
/** MiB of its JavaScript heap: no more than Node gives it by itself, and no less than it starts with. */
const MOST_HEAP_MB = 4096;
const LEAST_HEAP_MB = 512;
/** Part of its limit from which a process that the system kills is taken to have been killed for its memory. */
const NEARLY_ALL = 0.9;
const TOLD: ReadonlySet<string> = new Set<FromChild['type']>(['beat', 'directory', 'event', 'log', 'serving', 'counts', 'find', 'answer', 'ended']);

export interface Limits {
  /** MiB of resident memory beyond which it is killed. */
  readonly memoryMb: number;
  /** Milliseconds without a sign of life after which it is killed. */
  readonly silenceMs: number;
}

/** How the process ended. */
export type ProcessEnd =
  | { readonly kind: 'told'; readonly end: RunEnd }
  | {
      readonly kind: 'died';
      readonly exitCode: number | null;
      readonly signal: NodeJS.Signals | null;
      readonly because: 'memory' | 'silence' | 'asked' | 'crash';
      /** A sentence. */
      readonly reason: string;
      /** The last of what it wrote to its outputs. */
      readonly lastLines: readonly string[];
    };

export interface RunProcessEvents {
  /** Everything it tells but signs of life and its end. */
  told(message: Exclude<FromChild, { readonly type: 'beat' | 'ended' }>): void;
}

/** A child process that carries out one order. What happens to it, a segfault included, happens to nobody else. */
export class RunProcess {
  readonly pid: number;
  /** Resolves once it is gone; never rejects. */
  readonly ended: Promise<ProcessEnd>;
  /** The most resident memory seen, in bytes. */
  peakBytes = 0;
  readonly #child: ChildProcess;
  readonly #limits: Limits;
  readonly #lines: string[] = [];
  /** Of a clock that stands still while the machine sleeps. */
  #lastSign = performance.now();
  #lastLook = performance.now();
  #begun = false;
  #told: RunEnd | undefined;
  #killed: { readonly because: 'memory' | 'silence' | 'asked'; readonly reason: string } | undefined;

  constructor(order: Order, limits: Limits, events: RunProcessEvents) {
    this.#limits = limits;
    this.#child = fork(ENTRY, [], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], execArgv: [`--max-old-space-size=${Math.ceil(Math.min(MOST_HEAP_MB, Math.max(LEAST_HEAP_MB, limits.memoryMb)))}`], detached: true, env: { ...process.env, NO_COLOR: '1', GRAFT_HOST_PID: String(process.pid) } });
    this.pid = this.#child.pid ?? -1;
    this.#keepOutput();
    this.#child.on('message', (message: unknown) => {
      this.#lastSign = performance.now();
      // A plugin may send what it likes over the same channel.
      if (!isTold(message)) return;
      this.#begun = true;
      if (message.type === 'beat') this.#weigh(residentBytes(this.pid) ?? message.rssBytes);
      else if (message.type === 'ended') this.#told = message.end;
      else events.told(message);
    });
    const watch = setInterval(() => this.#look(), LOOK_MS);
    this.ended = new Promise((resolve) => {
      let spawnError: Error | undefined;
      this.#child.on('error', (error) => {
        if (this.#child.pid !== undefined) return;
        spawnError = error;
        done(null, null);
      });
      const done = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
        clearInterval(watch);
        resolve(this.#told !== undefined ? { kind: 'told', end: this.#told } : this.#died(exitCode, signal, spawnError));
      };
      this.#child.on('close', (exitCode, signal) => {
        // Its last words may still be on their way.
        if (this.#child.connected) this.#child.once('disconnect', () => done(exitCode, signal));
        else done(exitCode, signal);
      });
      // What it has started may hold its outputs open for as long as it likes.
      this.#child.on('exit', (exitCode, signal) =>
        setTimeout(() => {
          this.#child.stdout?.destroy();
          this.#child.stderr?.destroy();
          done(exitCode, signal);
        }, OUTPUT_MS),
      );
    });
    this.send(order);
  }

  /** Asks it to checkpoint and end. */
  stop(reason: StopReason): void {
    this.send({ type: 'stop', reason });
  }

  /** Ends it at once, whatever it is doing. */
  kill(reason: string, because: 'memory' | 'silence' | 'asked' = 'asked'): void {
    this.#killed ??= { because, reason };
    this.#child.kill('SIGKILL');
  }

  send(message: ToChild): void {
    // One that is gone already is told by its end.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  #look(): void {
    const [now, last] = [performance.now(), this.#lastLook];
    this.#lastLook = now;
    const bytes = residentBytes(this.pid);
    if (bytes !== undefined) this.#weigh(bytes);
    // A host that stood still itself has signs to read that have come meanwhile.
    if (now - last > 4 * LOOK_MS) this.#lastSign = now;
    const silenceMs = this.#begun ? this.#limits.silenceMs : Math.max(this.#limits.silenceMs, START_MS);
    if (now - this.#lastSign > silenceMs) this.kill(`It gave no sign of life for ${Math.round(silenceMs / 1000)} s: a loop that never ends, or a machine that stood still.`, 'silence');
  }

  /** Where the system tells nothing of its memory, what it says itself counts. */
  #weigh(bytes: number): void {
    const { memoryMb } = this.#limits;
    this.peakBytes = Math.max(this.peakBytes, bytes);
    if (bytes > memoryMb * 2 ** 20) this.kill(`It used ${Math.ceil(bytes / 2 ** 20)} MiB of memory, and may use ${memoryMb}.`, 'memory');
  }

  #keepOutput(): void {
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      let rest = '';
      stream?.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split(/\r?\n|\r/);
        rest = lines.pop()!.slice(-LONGEST_LINE);
        this.#lines.push(...lines.filter((line) => line.trim() !== ''));
        this.#lines.splice(0, Math.max(0, this.#lines.length - KEPT_LINES));
      });
    }
  }

  #died(exitCode: number | null, signal: NodeJS.Signals | null, spawnError: Error | undefined): ProcessEnd {
    const lastLines = [...this.#lines];
    if (this.#killed !== undefined) return { kind: 'died', exitCode, signal, ...this.#killed, lastLines };
    const how = spawnError !== undefined ? `could not be started: ${spawnError.message}` : signal !== null ? `was ended by ${signal}` : `ended with code ${exitCode}`;
    const wrote = lastLines.length === 0 ? '' : ` It wrote last: ${lastLines.at(-1)!.trim()}`;
    const told = lastLines.find((line) => OUT_OF_MEMORY.test(line));
    if (told !== undefined) return { kind: 'died', exitCode, signal, because: 'memory', reason: `Its process ran out of memory and ${how}: ${told.trim()}.`, lastLines };
    if (signal === 'SIGKILL' && this.peakBytes > NEARLY_ALL * this.#limits.memoryMb * 2 ** 20) {
      return { kind: 'died', exitCode, signal, because: 'memory', reason: `Its process ${how} while it used ${Math.ceil(this.peakBytes / 2 ** 20)} MiB of memory, of the ${this.#limits.memoryMb} that it may: the system ran out.${wrote}`, lastLines };
    }
    return { kind: 'died', exitCode, signal, because: 'crash', reason: `Its process ${how}.${wrote}`, lastLines };
  }
}

function isTold(message: unknown): message is FromChild {
  return typeof message === 'object' && message !== null && 'type' in message && typeof message.type === 'string' && TOLD.has(message.type);
}
