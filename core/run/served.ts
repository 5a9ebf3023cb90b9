/** The models that servers answer with: the base, and the base with a stack that is rebuilt when a strategy's code changes. */
import { createHash } from 'node:crypto';
import type { Disposer, GenerationInfo, Kernel, LoadedModel, Logger, ServedModel, ServedModelInfo, ServedModels } from '../contracts/index.ts';
import { reasonOf } from '../kernel/errors.ts';
import type { InjectedStack } from './session.ts';

/** How the adapted model is made, again and again: each time a stack of its own with the trained values. */
export interface StackSource {
  /** The name that requests say. */
  readonly id: string;
  /** The plugins that take part, such as `inject:lora`: a new generation of one makes a new stack. */
  readonly plugins: readonly string[];
  build(stack: string): Promise<InjectedStack>;
}

export interface ServedOptions {
  readonly base: LoadedModel;
  readonly baseId: string;
  /** Of the plugin that loaded the base. */
  readonly baseGenerations: readonly GenerationInfo[];
  readonly adapted?: StackSource;
  readonly log: Logger;
}

/** A stack with the requests that run on it. */
interface Held {
  readonly injected: InjectedStack;
  readonly fingerprint: string;
  requests: number;
  retired: boolean;
}

/**
 * Serves one base and at most one stack. Requests that are in flight when a strategy's code changes finish on the stack
 * that they began with; it is taken off the model when the last of them has ended.
 */
export class HotServedModels implements ServedModels {
  readonly #options: ServedOptions;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #baseFingerprint: string;
  readonly #removals = new Set<Promise<void>>();
  #current: Held | undefined;
  #built = 0;
  /** Rebuilds run one after the other; what fails is logged, so that the chain never breaks. */
  #rebuilding: Promise<void> = Promise.resolve();

  private constructor(options: ServedOptions) {
    this.#options = options;
    this.#baseFingerprint = fingerprintOf(options.baseGenerations);
  }

  /** @throws what the first building of the stack throws */
  static async open(options: ServedOptions): Promise<HotServedModels> {
    const models = new HotServedModels(options);
    if (options.adapted !== undefined) models.#current = await models.#build(options.adapted);
    return models;
  }

  list(): readonly ServedModelInfo[] {
    const { baseId, adapted } = this.#options;
    const base = { id: baseId, created: this.#created };
    return adapted === undefined ? [base] : [base, { id: adapted.id, created: this.#created, parent: baseId }];
  }

  acquire(id: string): ServedModel | undefined {
    const { base, baseId, adapted } = this.#options;
    if (id === baseId) return { id, ...base, stack: undefined, fingerprint: this.#baseFingerprint, release: () => undefined };
    const held = this.#current;
    if (id !== adapted?.id || held === undefined) return undefined;
    held.requests++;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      held.requests--;
      this.#removeWhenIdle(held);
    };
    return { id, ...base, stack: held.injected.stack, fingerprint: held.fingerprint, release };
  }

  /**
   * Builds the stack anew whenever a plugin that takes part has a new generation.
   * @returns stops following
   */
  follow(kernel: Pick<Kernel, 'on'>): Disposer {
    const { adapted } = this.#options;
    return kernel.on((event) => {
      if (event.type === 'swapped' && adapted?.plugins.includes(event.generation.plugin) === true) void this.rebuild(event.generation);
    });
  }

  /** Swaps the stack for one made by the current generations. Never throws: when it can't be made, the old one goes on serving. */
  rebuild(because: GenerationInfo): Promise<void> {
    const { adapted, log } = this.#options;
    if (adapted === undefined) return this.#rebuilding;
    return (this.#rebuilding = this.#rebuilding.then(async () => {
      if (this.#current?.injected.generations.some((used) => used.plugin === because.plugin && used.hash === because.hash) === true) return;
      const shown = `${because.plugin} ${because.hash.slice(0, 12)}`;
      try {
        const old = this.#current;
        this.#current = await this.#build(adapted);
        log.info(`${adapted.id} is served by the new ${shown}.`, { fingerprint: this.#current.fingerprint, requestsOnOld: old?.requests ?? 0 });
        if (old !== undefined) this.#retire(old);
      } catch (error) {
        log.error(`${adapted.id} goes on with what it was made by: the new ${shown} can't take over, because ${reasonOf(error)}`);
      }
    }));
  }

  /** Takes the stacks off the model; whoever still holds one must have ended. */
  async dispose(): Promise<void> {
    await this.#rebuilding;
    const held = this.#current;
    this.#current = undefined;
    if (held !== undefined) this.#retire(held);
    await Promise.all(this.#removals);
  }

  async #build(source: StackSource): Promise<Held> {
    const injected = await source.build(`${source.id}#${++this.#built}`);
    const fingerprint = fingerprintOf([...this.#options.baseGenerations, ...injected.generations]);
    return { injected, fingerprint, requests: 0, retired: false };
  }

  #retire(held: Held): void {
    held.retired = true;
    this.#removeWhenIdle(held);
  }

  #removeWhenIdle(held: Held): void {
    if (!held.retired || held.requests > 0) return;
    const removal = held.injected
      .dispose()
      .catch((error: unknown) => this.#options.log.error(`The old stack ${held.injected.stack} could not be taken off the model: ${reasonOf(error)}`))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }
}

function fingerprintOf(generations: readonly GenerationInfo[]): string {
  const hash = createHash('sha256');
  for (const { plugin, hash: content } of generations) hash.update(`${plugin}@${content}\n`);
  return hash.digest('hex').slice(0, 12);
}
