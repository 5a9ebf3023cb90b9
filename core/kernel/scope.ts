import type { Disposer, Logger, Scope } from '../contracts/index.ts';
import { reasonOf } from './errors.ts';

/** A scope as its owner sees it. */
export interface OwnedScope extends Scope {
  /** Labels of what it holds open, in the order acquired; those of a child follow its own. */
  readonly holds: readonly string[];
  /** What went wrong in disposal so far, one sentence each. */
  readonly failures: readonly string[];
  /** Releases everything, last in first out. Never throws: a failing or slow disposer is logged by its label, and the next one runs. */
  dispose(): Promise<void>;
}

/** A disposer that takes longer is named and left behind. */
export const DISPOSE_MS = 5_000;

interface Held {
  readonly label: string;
  readonly dispose: Disposer;
  readonly child?: OwnedScope;
}

/**
 * @param label who owns it, for messages: `inject:lora generation 3`
 * @param disposeMs how long one disposer may take
 */
export function createScope(label: string, log: Logger, disposeMs: number = DISPOSE_MS): OwnedScope {
  return new ScopeOfDisposers(label, log, disposeMs);
}

class ScopeOfDisposers implements OwnedScope {
  readonly failures: string[] = [];
  readonly #label: string;
  readonly #log: Logger;
  readonly #disposeMs: number;
  readonly #held = new Set<Held>();
  readonly #aborter = new AbortController();
  #disposal: Promise<void> | undefined;

  constructor(label: string, log: Logger, disposeMs: number) {
    this.#label = label;
    this.#log = log;
    this.#disposeMs = disposeMs;
  }

  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  get holds(): readonly string[] {
    return [...this.#held].flatMap(({ label, child }) => [label, ...(child?.holds ?? []).map((inner) => `${label} > ${inner}`)]);
  }

  own(label: string, dispose: Disposer): () => Promise<void> {
    return this.#hold({ label, dispose });
  }

  use<T>(label: string, value: T, dispose: (value: T) => void | Promise<void>): T {
    this.#hold({ label, dispose: () => dispose(value) });
    return value;
  }

  child(label: string): OwnedScope {
    const child = new ScopeOfDisposers(`${this.#label} > ${label}`, this.#log, this.#disposeMs);
    const held: Held = { label, child, dispose: () => child.#release() };
    const leave = this.#hold(held);
    child.#leave = leave;
    return child;
  }

  dispose(): Promise<void> {
    return this.#leave === undefined ? this.#release() : this.#leave();
  }

  /** Set in a child: disposing it takes it off its parent too. */
  #leave: (() => Promise<void>) | undefined;

  /** What is acquired once disposal has begun, such as by a setup that timed out, is released at once. */
  #hold(held: Held): () => Promise<void> {
    this.#held.add(held);
    const release = async (): Promise<void> => {
      if (this.#held.delete(held)) await this.#run(held);
    };
    if (this.signal.aborted) void release();
    return release;
  }

  #release(): Promise<void> {
    return (this.#disposal ??= (async () => {
      this.#aborter.abort(new Error(`${this.#label} was disposed.`));
      for (const held of [...this.#held].reverse()) {
        if (this.#held.delete(held)) await this.#run(held);
      }
    })());
  }

  async #run({ label, dispose, child }: Held): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    // A child times each of its own disposers; together they may take longer than one.
    const deadline = child !== undefined ? [] : [new Promise<'late'>((resolve) => (timer = setTimeout(resolve, this.#disposeMs, 'late')))];
    try {
      const outcome = await Promise.race([Promise.resolve(dispose()).then(() => 'done' as const), ...deadline]);
      if (outcome === 'late') this.#fail(`Disposing of ${label} in ${this.#label} took longer than ${this.#disposeMs} ms and was left behind.`);
    } catch (error) {
      this.#fail(`Disposing of ${label} in ${this.#label} failed: ${reasonOf(error)}`);
    } finally {
      clearTimeout(timer);
      this.failures.push(...(child?.failures ?? []));
    }
  }

  #fail(message: string): void {
    this.failures.push(message);
    this.#log.warn(message);
  }
}
