/** The models that servers answer with: one base, and stacks on it that are loaded when asked for and rebuilt when a strategy's code changes. */
import { createHash } from 'node:crypto';
import type { Disposer, GenerationInfo, GenerationRequest, Kernel, LoadedModel, Logger, ServedModel, ServedModelInfo, ServedModels } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import type { InjectedStack } from '../run/session.ts';
import type { Batcher } from './batcher.ts';

/** How an adapted model is made, again and again: each time a stack of its own with the trained values. */
export interface StackSource {
  /** The name that requests say. */
  readonly id: string;
  /** The plugins that take part, such as `inject:lora`: a new generation of one makes a new stack. */
  readonly plugins: readonly string[];
  build(stack: string): Promise<InjectedStack>;
  /** Unix seconds; left out: when it was added. */
  readonly created?: number;
}

export interface ServedOptions {
  readonly base: LoadedModel;
  readonly baseId: string;
  /** Of the plugin that loaded the base. */
  readonly baseGenerations: readonly GenerationInfo[];
  readonly batcher: Batcher;
  readonly log: Logger;
  /** Bytes of trained tensors in memory beyond which the stack that was used least recently leaves; those in use stay. Default: no limit. */
  readonly adapterBytes?: number;
  /** Names one that is not added yet, when it is asked for; undefined: there is none. */
  find?(id: string): Promise<StackSource | undefined>;
}

/** Milliseconds that a request waits for adapters in use to make room; a little too much memory is better than no answer. */
const ROOM_MS = 10_000;

/** A stack with the requests that run on it. */
interface Held {
  readonly injected: InjectedStack;
  readonly fingerprint: string;
  readonly bytes: number;
  requests: number;
  retired: boolean;
  gone: boolean;
}

/** A source, and what of it is in memory. */
interface Adapter {
  readonly source: StackSource;
  readonly created: number;
  current: Held | undefined;
  /** Under way; never rejects. */
  loading: Promise<Held | { readonly error: unknown }> | undefined;
  usedAt: number;
}

/** Adapters in memory and what became of them, since the beginning. */
export interface AdapterState {
  readonly loaded: number;
  readonly bytes: number;
  readonly loads: number;
  readonly evictions: number;
  readonly failures: number;
}

/**
 * Requests that are in flight when a strategy's code changes finish on the stack that they began with; it is taken off the
 * model when the last of them has ended.
 */
export class HotServedModels implements ServedModels {
  readonly #options: ServedOptions;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #baseFingerprint: string;
  readonly #idToAdapter = new Map<string, Adapter>();
  readonly #removals = new Set<Promise<void>>();
  readonly #waitingForRoom = new Set<() => void>();
  #built = 0;
  #uses = 0;
  #loads = 0;
  #evictions = 0;
  #failures = 0;
  /** Rebuilds run one after the other; what fails is logged, so that the chain never breaks. */
  #rebuilding: Promise<void> = Promise.resolve();
  #disposed = false;

  constructor(options: ServedOptions) {
    this.#options = options;
    this.#baseFingerprint = fingerprintOf(options.baseGenerations);
  }

  list(): readonly ServedModelInfo[] {
    const { baseId } = this.#options;
    return [{ id: baseId, created: this.#created }, ...[...this.#idToAdapter.values()].map(({ source: { id }, created }) => ({ id, created, parent: baseId }))];
  }

  state(): AdapterState {
    const loaded = this.#loaded();
    return { loaded: loaded.length, bytes: sumOf(loaded), loads: this.#loads, evictions: this.#evictions, failures: this.#failures };
  }

  /** Whether its values are in memory now. */
  isLoaded(id: string): boolean {
    return this.#idToAdapter.get(id)?.current !== undefined;
  }

  /** Offers an adapter; one of the same name is replaced, and those who use it finish. */
  add(source: StackSource): void {
    this.remove(source.id);
    this.#idToAdapter.set(source.id, { source, created: source.created ?? Math.floor(Date.now() / 1000), current: undefined, loading: undefined, usedAt: 0 });
  }

  /** Takes an adapter back. @returns false where there is none of this name */
  remove(id: string): boolean {
    const adapter = this.#idToAdapter.get(id);
    if (adapter === undefined) return false;
    this.#idToAdapter.delete(id);
    if (adapter.current !== undefined) this.#retire(adapter.current);
    adapter.current = undefined;
    return true;
  }

  async acquire(id: string, signal?: AbortSignal): Promise<ServedModel | undefined> {
    if (id === this.#options.baseId) return this.#served(id, undefined, this.#baseFingerprint, () => undefined);
    const adapter = this.#idToAdapter.get(id) ?? (await this.#found(id));
    if (adapter === undefined) return undefined;
    signal?.throwIfAborted();
    adapter.usedAt = ++this.#uses;
    if (adapter.current === undefined && adapter.loading === undefined) await this.#room();
    signal?.throwIfAborted();
    const held = adapter.current ?? (await this.#load(adapter, signal));
    held.requests++;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      held.requests--;
      this.#removeWhenIdle(held);
      for (const wake of [...this.#waitingForRoom]) wake();
    };
    return this.#served(id, held.injected.stack, held.fingerprint, release);
  }

  /** @throws GraftError `MODEL_UNKNOWN`, `ADAPTER_BROKEN`: to know at the beginning whether an adapter can be served */
  async load(id: string): Promise<void> {
    const held = await this.acquire(id);
    if (held === undefined) throw new GraftError('MODEL_UNKNOWN', `There is no model ${id}.`);
    held.release();
  }

  /**
   * Builds stacks anew whenever a plugin that takes part has a new generation.
   * @returns stops following
   */
  follow(kernel: Pick<Kernel, 'on'>): Disposer {
    return kernel.on((event) => {
      if (event.type === 'swapped') void this.rebuild(event.generation);
    });
  }

  /** Swaps the stacks that a plugin takes part in for ones made by the current generations. Never throws: what can't be made anew goes on as it is. */
  rebuild(because: GenerationInfo): Promise<void> {
    return (this.#rebuilding = this.#rebuilding.then(async () => {
      for (const adapter of this.#idToAdapter.values()) {
        const old = adapter.current;
        if (old === undefined || !adapter.source.plugins.includes(because.plugin)) continue;
        if (old.injected.generations.some((used) => used.plugin === because.plugin && used.hash === because.hash)) continue;
        await this.#replace(adapter, old, because);
      }
    }));
  }

  /** Takes the stacks off the model; whoever still holds one must have ended. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#rebuilding;
    await Promise.all([...this.#idToAdapter.values()].map(async ({ loading }) => loading));
    for (const id of [...this.#idToAdapter.keys()]) this.remove(id);
    await Promise.all(this.#removals);
  }

  async #replace(adapter: Adapter, old: Held, because: GenerationInfo): Promise<void> {
    const { log } = this.#options;
    const { id } = adapter.source;
    const shown = `${because.plugin} ${because.hash.slice(0, 12)}`;
    try {
      const made = await this.#build(adapter.source);
      if (adapter.current !== old) return this.#retire(made);
      adapter.current = made;
      log.info(`${id} is served by the new ${shown}.`, { fingerprint: made.fingerprint, requestsOnOld: old.requests });
      this.#retire(old);
    } catch (error) {
      log.error(`${id} goes on with what it was made by: the new ${shown} can't take over, because ${reasonOf(error)}`);
    }
  }

  async #found(id: string): Promise<Adapter | undefined> {
    const source = await this.#options.find?.(id);
    if (source === undefined) return undefined;
    // Another request may have found it meanwhile.
    if (!this.#idToAdapter.has(id)) this.add(source);
    return this.#idToAdapter.get(id);
  }

  /** Loads an adapter once for all who wait for it. */
  async #load(adapter: Adapter, signal: AbortSignal | undefined): Promise<Held> {
    adapter.loading ??= this.#build(adapter.source)
      .then(
        (held) => {
          this.#loads++;
          // Nobody asks for it any more where it was taken back meanwhile: it serves those who wait, and leaves.
          if (this.#idToAdapter.get(adapter.source.id) === adapter && !this.#disposed) adapter.current = held;
          else held.retired = true;
          return held;
        },
        (error: unknown) => {
          this.#failures++;
          return { error };
        },
      )
      .finally(() => (adapter.loading = undefined));
    const loaded = await adapter.loading;
    if ('error' in loaded) {
      const { error } = loaded;
      this.#options.log.warn(`The adapter ${adapter.source.id} can't be served: ${reasonOf(error)}`);
      throw new GraftError('ADAPTER_BROKEN', `The adapter ${adapter.source.id} can't be served: ${reasonOf(error)}`, { cause: error, ...(GraftError.is(error) && error.hint !== undefined ? { hint: error.hint } : {}) });
    }
    if (signal?.aborted === true) {
      this.#removeWhenIdle(loaded);
      throw signal.reason;
    }
    // Held until this request holds it itself, so that making room does not take it away.
    loaded.requests++;
    this.#makeRoom();
    loaded.requests--;
    return loaded;
  }

  /** Waits while requests hold all that there is room for. */
  async #room(): Promise<void> {
    const limit = this.#options.adapterBytes ?? Number.POSITIVE_INFINITY;
    const until = performance.now() + ROOM_MS;
    const isFull = (): boolean => sumOf(this.#loaded()) >= limit && this.#loaded().every(({ current }) => current!.requests > 0);
    while (isFull() && performance.now() < until) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          clearTimeout(timer);
          this.#waitingForRoom.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, until - performance.now());
        this.#waitingForRoom.add(wake);
      });
    }
  }

  /** Lets the stacks go that were used least recently, those without requests, until the rest fits. */
  #makeRoom(): void {
    const limit = this.#options.adapterBytes ?? Number.POSITIVE_INFINITY;
    const idle = this.#loaded().filter(({ current }) => current!.requests === 0).sort((a, b) => a.usedAt - b.usedAt);
    for (const adapter of idle) {
      if (sumOf(this.#loaded()) <= limit) return;
      this.#retire(adapter.current!);
      adapter.current = undefined;
      this.#evictions++;
    }
  }

  #loaded(): readonly Adapter[] {
    return [...this.#idToAdapter.values()].filter(({ current }) => current !== undefined);
  }

  #served(id: string, stack: string | undefined, fingerprint: string, release: () => void): ServedModel {
    const { base, batcher } = this.#options;
    return {
      id,
      ...base,
      stack,
      fingerprint,
      contextLength: batcher.contextLength,
      generate: (request: GenerationRequest) => batcher.generate(stack, request),
      embed: (inputIds, signal) => batcher.embed(stack, inputIds, signal),
      release,
    };
  }

  async #build(source: StackSource): Promise<Held> {
    const injected = await source.build(`${source.id}#${++this.#built}`);
    const bytes = injected.grafts.reduce((sum, { trainables }) => sum + trainables.reduce((own, { variable }) => own + variable.size * 4, 0), 0);
    return { injected, fingerprint: fingerprintOf([...this.#options.baseGenerations, ...injected.generations]), bytes, requests: 0, retired: false, gone: false };
  }

  #retire(held: Held): void {
    held.retired = true;
    this.#removeWhenIdle(held);
  }

  #removeWhenIdle(held: Held): void {
    if (!held.retired || held.gone || held.requests > 0) return;
    held.gone = true;
    this.#options.batcher.forget(held.injected.stack);
    const removal = held.injected
      .dispose()
      .catch((error: unknown) => this.#options.log.error(`The old stack ${held.injected.stack} could not be taken off the model: ${reasonOf(error)}`))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }
}

function sumOf(adapters: readonly Adapter[]): number {
  return adapters.reduce((sum, { current }) => sum + current!.bytes, 0);
}

function fingerprintOf(generations: readonly GenerationInfo[]): string {
  const hash = createHash('sha256');
  for (const { plugin, hash: content } of generations) hash.update(`${plugin}@${content}\n`);
  return hash.digest('hex').slice(0, 12);
}
