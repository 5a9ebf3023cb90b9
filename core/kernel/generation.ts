import type { TSchema } from 'typebox';
import type { GenerationInfo, GenerationReport, KernelOptions, Lease } from '../contracts/index.ts';
import type { Build } from './builder.ts';
import { createContainer } from './container.ts';
import { GraftError, reasonOf } from './errors.ts';
import { evaluate } from './evaluate.ts';
import { checkDefinition, checkHooks } from './hooks.ts';
import { checkConfigs } from './schema.ts';
import { createScope, type OwnedScope } from './scope.ts';
import { placeOf } from './stack.ts';

/** Who holds a generation: a call up to the drain deadline, a pinned lease however long, a dependent until it is disposed itself. */
export type Holder = 'call' | 'pinned' | 'dependent';

/** One content of one plugin, evaluated once and set up: what its slot serves, or once served and waits to be rid of. */
export class Generation {
  activatedAt = new Date(0);
  readonly #leases = new Set<{ readonly holder: Holder }>();
  #waitsFor: readonly Holder[] = ['call', 'pinned', 'dependent'];
  #onRelease = (): void => {};
  readonly #aborter = new AbortController();

  private constructor(
    readonly build: Build,
    readonly info: GenerationInfo,
    readonly schema: TSchema,
    readonly value: unknown,
    private readonly scope: OwnedScope,
    private readonly times: Pick<GenerationReport, 'evaluateMs' | 'setupMs'>,
  ) {}

  /**
   * Evaluates a build, validates, and sets up in a scope that nobody sees yet. When any of it fails, all that was acquired
   * on the way is released.
   * @param number 1 for the slot's first
   * @param configs those in use, which its schema must accept
   * @throws GraftError `PLUGIN_EVALUATE`, `PLUGIN_SETUP`, `PLUGIN_SETUP_TIMEOUT`, and those of hooks.ts and schema.ts
   */
  static async prepare(build: Build, number: number, tokenToProvider: ReadonlyMap<string, Generation>, configs: readonly unknown[], options: KernelOptions): Promise<Generation> {
    const info: GenerationInfo = { plugin: build.id, version: build.manifest.version, hash: build.hash, number };
    const [log, bounded, setupMs] = [options.log.child({ plugin: build.id }), options.bounded ?? (<T>(act: () => T | Promise<T>) => act()), options.setupMs ?? 10_000];
    const scope = createScope(`${build.id} generation ${number}`, log, options.disposeMs);
    try {
      for (const [name, provider] of tokenToProvider) scope.own(`${name} generation ${provider.info.number}`, provider.acquire('dependent').release);
      const { container, tsyringe, dispose } = createContainer();
      scope.own('injection container', dispose);
      const began = performance.now();
      const exported = await blame(build, 'PLUGIN_EVALUATE', 'failed when its code was run', () => bounded(() => evaluate(build, options.hostModules, tsyringe)));
      const definition = checkDefinition(build.id, exported, build.manifest);
      checkConfigs(build.id, definition.config, configs);
      const evaluated = performance.now();
      const needs = Object.fromEntries(Object.entries(definition.needs).map(([key, { name }]) => [key, tokenToProvider.get(name)!.value]));
      const setup = blame(build, 'PLUGIN_SETUP', 'failed in its setup', () => bounded(() => definition.setup({ needs, scope, log, container, generation: info })));
      const value = await within(setupMs, setup, new GraftError('PLUGIN_SETUP_TIMEOUT', `${build.id}: its setup did not finish within ${setupMs} ms.`));
      checkHooks(build.id, value, build.manifest);
      return new Generation(build, info, definition.config, value, scope, { evaluateMs: evaluated - began, setupMs: performance.now() - evaluated });
    } catch (error) {
      await scope.dispose();
      throw error;
    }
  }

  acquire(holder: Holder): Lease<unknown> {
    const lease = { holder };
    this.#leases.add(lease);
    const release = (): void => {
      if (this.#leases.delete(lease)) this.#onRelease();
    };
    return { value: this.value, schema: this.schema, generation: this.info, signal: this.#aborter.signal, release };
  }

  /**
   * Waits for every lease, after the deadline only for pinned ones and dependents; then fires the signal and disposes.
   * @returns a sentence for each disposer that failed or was too slow
   */
  async retire(drainMs: number): Promise<readonly string[]> {
    const deadline = Number.isFinite(drainMs) ? setTimeout(() => this.#waitOnlyFor('pinned', 'dependent'), drainMs).unref() : undefined;
    await new Promise<void>((resolve) => {
      this.#onRelease = () => {
        if (![...this.#leases].some(({ holder }) => this.#waitsFor.includes(holder))) resolve();
      };
      this.#onRelease();
    });
    clearTimeout(deadline);
    this.#aborter.abort(new GraftError('GENERATION_RETIRED', `${this.info.plugin} generation ${this.info.number} was replaced or unloaded.`));
    await this.scope.dispose();
    return this.scope.failures;
  }

  /** The host is going: calls are not waited for any more. */
  expire(): void {
    this.#waitOnlyFor('dependent');
  }

  report(): GenerationReport {
    return { ...this.info, ...this.times, buildMs: this.build.ms, leases: this.#leases.size, holds: this.scope.holds, activatedAt: this.activatedAt };
  }

  #waitOnlyFor(...holders: readonly Holder[]): void {
    this.#waitsFor = holders;
    this.#onRelease();
  }
}

/** A plugin's own mistake is told with the plugin's name and the line of its source. */
async function blame<T>(build: Build, code: string, what: string, act: () => T | Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const place = placeOf(error, build);
    throw new GraftError(code, `${build.id} ${what}: ${reasonOf(error)}${place === undefined ? '' : ` (${place})`}`, { cause: error });
  }
}

/** @throws `tooLate` where it takes longer; it is not waited for any more, and goes on */
export async function within<T>(ms: number, setup: Promise<T>, tooLate: GraftError): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(reject, ms, tooLate)));
  return Promise.race([setup, late]).finally(() => clearTimeout(timer));
}
