/** Plugins' code and setups, none of which may hold the host for good. */
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { bounded } from './bounded.ts';

const BEAT_MS = 100;
/** Setups come in bursts: the thread stays so long after the last. */
const LINGER_MS = 5000;

/**
 * Breaks off what holds the main thread too long: its own calls by a timeout of node:vm, and what a setup goes on to do after an `await`,
 * where that does not reach, by a thread that sees the main one stand still while a setup is under way. What the thread breaks off never
 * settles, and what else was to run in the same turn of the event loop is lost: each call has a turn of its own.
 */
export class SetupGuard {
  readonly #limitMs: number;
  readonly #pulse = new Int32Array(new SharedArrayBuffer(4));
  #worker: Worker | undefined;
  #beat: NodeJS.Timeout | undefined;
  #linger: NodeJS.Timeout | undefined;
  #underWay = 0;

  /** @param limitMs how long the main thread may be held */
  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** @throws GraftError `NEVER_ENDS` where it does not give the thread back; whatever it throws */
  async run<T>(act: () => T | Promise<T>): Promise<T> {
    await setImmediate();
    const result = bounded(this.#limitMs, act);
    if (result instanceof Promise) this.#watch(result);
    return result;
  }

  #watch(setup: Promise<unknown>): void {
    this.#begin();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, 2 * this.#limitMs).unref()));
    const end = (): void => {
      clearTimeout(timer);
      this.#end();
    };
    void Promise.race([setup, late]).then(end, end);
  }

  dispose(): void {
    clearInterval(this.#beat);
    clearTimeout(this.#linger);
    void this.#worker?.terminate();
    this.#worker = undefined;
  }

  #begin(): void {
    this.#underWay++;
    clearTimeout(this.#linger);
    if (this.#worker !== undefined) return;
    this.#beat = setInterval(() => Atomics.add(this.#pulse, 0, 1), BEAT_MS).unref();
    this.#worker = new Worker(new URL('./setup-guard.mjs', import.meta.url), { workerData: { pulse: this.#pulse, limitMs: this.#limitMs }, execArgv: [] });
    this.#worker.unref();
    // Without the thread, setups are as they would be without this guard.
    this.#worker.on('error', () => this.dispose());
  }

  #end(): void {
    if (--this.#underWay === 0) this.#linger = setTimeout(() => this.dispose(), LINGER_MS).unref();
  }
}
