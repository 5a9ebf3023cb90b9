/** The process that serves one base: started, watched, and started again when it dies. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../contracts/index.ts';
import { GraftError, reasonOf } from '../../kernel/errors.ts';
import { residentBytes } from '../resident.ts';
import { RunProcess, type ProcessEnd } from '../run-process.ts';
import type { FromChild, ServeCounts, ServeOrder, ServeRequest } from '../protocol.ts';

/** Milliseconds before it is started again; they double with each death that follows soon, up to a minute. */
const RESTART_MS = 1000;
const LONGEST_RESTART_MS = 60_000;
/** Milliseconds after which a death is a new misfortune rather than the same one again. */
const STEADY_MS = 60_000;
/** Requests that wait for it to be served; one more is told to come again. */
const MOST_WAITING = 256;

export interface ModelProcessOptions {
  readonly order: Omit<ServeOrder, 'apiKey'>;
  /** MiB of memory beyond which it is ended. */
  readonly memoryMb: number;
  readonly silenceMs: number;
  /** Milliseconds that answers in flight have when it ends. */
  readonly stopMs: number;
  readonly log: Logger;
  /** The folder of an adapter of this base. @throws GraftError where it leads to where it may not */
  find(model: string): string | undefined;
  counted(counts: ServeCounts): void;
  /** Is told when the process has ended. */
  fell(): void;
}

/** Where it answers, and with which key. */
export interface Serving {
  readonly url: string;
  readonly apiKey: string;
}

export type ModelState = 'starting' | 'serving' | 'restarting' | 'failed' | 'stopped';

/** What it is doing, for whoever asks. */
export interface ModelStanding {
  readonly id: string;
  readonly state: ModelState;
  /** Why it is not serving; a sentence. */
  readonly reason?: string;
  readonly pid?: number;
  /** Resident, where the system tells. */
  readonly memoryBytes?: number;
  /** MiB that it may use. */
  readonly memoryMb: number;
  /** In memory, as it told last. */
  readonly adapters: { readonly loaded: number; readonly bytes: number };
  readonly restarts: number;
}

const NO_ADAPTERS: ModelStanding['adapters'] = { loaded: 0, bytes: 0 };

export class ModelProcess {
  readonly id: string;
  readonly #options: ModelProcessOptions;
  readonly #loop: Promise<void>;
  readonly #stopping = new AbortController();
  #process: RunProcess | undefined;
  #serving: Serving | undefined;
  #state: ModelState = 'starting';
  #reason: string | undefined;
  #restarts = 0;
  #adapters = NO_ADAPTERS;
  readonly #waiting = new Set<() => void>();
  #asked = 0;
  readonly #numberToAnswer = new Map<number, (error: GraftError | undefined) => void>();

  constructor(options: ModelProcessOptions) {
    this.id = options.order.id;
    this.#options = options;
    this.#loop = this.#run();
  }

  get state(): ModelState {
    return this.#state;
  }

  /** Why it is not serving; a sentence. */
  get reason(): string | undefined {
    return this.#reason;
  }

  get restarts(): number {
    return this.#restarts;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Looks at its memory. */
  standing(): ModelStanding {
    const { id, state, reason, pid, restarts } = this;
    return { id, state, reason, pid, memoryBytes: pid === undefined ? undefined : residentBytes(pid), memoryMb: this.#options.memoryMb, adapters: this.#adapters, restarts };
  }

  /**
   * Where it answers, as soon as it does.
   * @throws GraftError `MODEL_FAILED` where it has ended for good, `MODEL_NOT_READY` where it is still starting when the signal fires, `MODEL_BUSY`
   */
  async serving(signal: AbortSignal): Promise<Serving> {
    while (this.#serving === undefined) {
      if (this.#state === 'failed' || this.#state === 'stopped') throw new GraftError('MODEL_FAILED', `The model ${this.id} is not served: ${this.#reason ?? 'it was stopped.'}`);
      if (signal.aborted) throw new GraftError('MODEL_NOT_READY', `The model ${this.id} is not ready yet: it is ${this.#state}.${this.#reason === undefined ? '' : ` ${this.#reason}`}`);
      if (this.#waiting.size >= MOST_WAITING) throw new GraftError('MODEL_BUSY', `The model ${this.id} is ${this.#state}, and ${MOST_WAITING} requests wait for it already.`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#waiting.add(wake);
        signal.addEventListener('abort', wake, { once: true });
      });
    }
    return this.#serving;
  }

  /**
   * Has it load or let go of an adapter.
   * @throws GraftError with what it could not do, `MODEL_NOT_READY` where it dies meanwhile
   */
  async ask(ask: ServeRequest, signal: AbortSignal): Promise<void> {
    await this.serving(signal);
    const number = ++this.#asked;
    const error = await new Promise<GraftError | undefined>((resolve) => {
      this.#numberToAnswer.set(number, resolve);
      this.#process!.send({ type: 'ask', number, ask });
    });
    if (error !== undefined) throw error;
  }

  /** Lets go of an adapter if it is running; nothing to do where it is not. */
  forget(model: string): void {
    this.#process?.send({ type: 'ask', number: ++this.#asked, ask: { what: 'unload', model } });
  }

  /** Lets the answers in flight end. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#process?.stop('shutdown');
    const patience = setTimeout(() => this.#process?.kill('It did not end in time.'), this.#options.stopMs);
    await this.#loop;
    clearTimeout(patience);
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    let soon = 0;
    while (!this.#stopping.signal.aborted) {
      const began = performance.now();
      const end = await this.#once();
      this.#fall();
      if (this.#stopping.signal.aborted) break;
      if (end.kind === 'told' && end.end.status === 'failed' && end.end.lasting) {
        this.#state = 'failed';
        this.#reason = end.end.reason;
        log.error(`The model ${this.id} can't be served: ${this.#reason}`);
        this.#wake();
        return;
      }
      this.#reason = end.kind === 'told' ? (end.end.status === 'succeeded' ? 'It ended.' : end.end.reason) : end.reason;
      soon = performance.now() - began > STEADY_MS ? 0 : soon + 1;
      const pause = Math.min(LONGEST_RESTART_MS, RESTART_MS * 2 ** Math.max(0, soon - 1));
      this.#state = 'restarting';
      this.#restarts++;
      log.error(`The process of the model ${this.id} has ended, and is started again in ${pause / 1000} s: ${this.#reason}`);
      await sleep(pause, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
    this.#state = 'stopped';
    this.#wake();
  }

  /** One life of the process. */
  async #once(): Promise<ProcessEnd> {
    const { order, memoryMb, silenceMs } = this.#options;
    const apiKey = randomBytes(24).toString('base64url');
    try {
      this.#process = new RunProcess({ type: 'serve', order: { ...order, apiKey } }, { memoryMb, silenceMs }, { told: (message) => this.#told(message, apiKey) });
    } catch (error) {
      return { kind: 'told', end: { status: 'failed', reason: `Its process can't be started: ${reasonOf(error)}.`, code: undefined, lasting: false } };
    }
    return this.#process.ended;
  }

  #told(message: Exclude<FromChild, { readonly type: 'beat' | 'ended' }>, apiKey: string): void {
    const { log, counted } = this.#options;
    if (message.type === 'serving') {
      const first = this.#serving === undefined;
      this.#serving = { url: message.url, apiKey };
      this.#state = 'serving';
      this.#reason = undefined;
      this.#process?.send({ type: 'switched' });
      if (first) log.info(`The model ${this.id} is served.`, { process: this.pid });
      this.#wake();
    } else if (message.type === 'counts') {
      const { loaded, bytes } = message.counts.adapters;
      this.#adapters = { loaded, bytes };
      counted(message.counts);
    } else if (message.type === 'log') log[message.level](message.message, message.fields);
    else if (message.type === 'find') this.#process?.send({ type: 'found', number: message.number, dir: this.#find(message.model) });
    else if (message.type === 'answer') {
      const { error } = message;
      this.#answer(message.number, error === undefined ? undefined : new GraftError(error.code ?? 'ADAPTER_BROKEN', error.message, { hint: error.hint }));
    }
  }

  #find(model: string): string | undefined {
    const { find, log } = this.#options;
    try {
      return find(model);
    } catch (error) {
      log.warn(`The adapter ${model} is not served: ${reasonOf(error)}`);
      return undefined;
    }
  }

  /** Nobody is served, and nobody will be answered, by a process that is gone. */
  #fall(): void {
    this.#serving = undefined;
    this.#process = undefined;
    this.#adapters = NO_ADAPTERS;
    this.#options.fell();
    for (const number of [...this.#numberToAnswer.keys()]) this.#answer(number, new GraftError('MODEL_NOT_READY', `The process of the model ${this.id} has ended.`));
  }

  #answer(number: number, error: GraftError | undefined): void {
    this.#numberToAnswer.get(number)?.(error);
    this.#numberToAnswer.delete(number);
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
