import type { TSchema } from 'typebox';
import type { GenerationInfo, GenerationReport, Lease, Logger, SetupContext } from '../contracts/index.ts';
import type { Build } from './builder.ts';
import { createContainer } from './container.ts';
import { GraftError, reasonOf } from './errors.ts';
import { evaluate } from './evaluate.ts';
import { checkDefinition, checkHooks } from './hooks.ts';
import { checkConfigs } from './schema.ts';
import { createScope, type OwnedScope } from './scope.ts';
import { placeOf } from './stack.ts';

/** What every generation of a kernel is prepared with. */
export interface Environment {
  readonly hostModules: Readonly<Record<string, unknown>>;
  readonly log: Logger;
  /** How long a setup may take. */
  readonly setupMs: number;
  /** How long one disposer may take. */
  readonly disposeMs: number;
}

/** What one generation is made of. */
export interface Ingredients {
  readonly build: Build;
  /** 1 for the slot's first. */
  readonly number: number;
  /** The generation behind each token that its manifest consumes. */
  readonly tokenToProvider: ReadonlyMap<string, Generation>;
  /** Configs in use, which its schema must accept. */
  readonly configs: readonly unknown[];
}

/** One content of one plugin, evaluated once and set up: what its slot serves, or once served and waits to be rid of. */
export class Generation {
  /** Set when it starts to serve. */
  activatedAt = new Date(0);
  #leases = 0;
  #pinned = 0;
  /** Whose release disposal waits for. */
  #waitsFor: 'all' | 'pinned' | 'none' = 'all';
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
   * @throws GraftError `PLUGIN_EVALUATE`, `PLUGIN_SETUP`, `PLUGIN_SETUP_TIMEOUT`, and those of hooks.ts and schema.ts
   */
  static async prepare({ build, number, tokenToProvider, configs }: Ingredients, environment: Environment): Promise<Generation> {
    const info: GenerationInfo = { plugin: build.id, version: build.manifest.version, hash: build.hash, number };
    const log = environment.log.child({ plugin: build.id });
    const scope = createScope(`${build.id} generation ${number}`, log, environment.disposeMs);
    try {
      for (const [name, provider] of tokenToProvider) scope.own(`${name} generation ${provider.info.number}`, provider.acquire(true).release);
      const { container, tsyringe, dispose } = createContainer();
      scope.own('injection container', dispose);
      const began = performance.now();
      const definition = checkDefinition(build.id, named(build, 'PLUGIN_EVALUATE', 'failed when its code was run', () => evaluate(build, environment.hostModules, tsyringe)), build.manifest);
      checkConfigs(build.id, definition.config, configs);
      const evaluated = performance.now();
      const needs = Object.fromEntries(Object.entries(definition.needs).map(([key, { name }]) => [key, tokenToProvider.get(name)!.value]));
      const value = await setUp(build, () => definition.setup({ needs, scope, log, container, generation: info } satisfies SetupContext), environment.setupMs);
      checkHooks(build.id, value, build.manifest);
      return new Generation(build, info, definition.config, value, scope, { evaluateMs: evaluated - began, setupMs: performance.now() - evaluated });
    } catch (error) {
      await scope.dispose();
      throw error;
    }
  }

  /** @param pinned a pinned lease is waited for however long, any other one up to the drain deadline */
  acquire(pinned: boolean): Lease<unknown> {
    this.#leases++;
    if (pinned) this.#pinned++;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      this.#leases--;
      if (pinned) this.#pinned--;
      this.#onRelease();
    };
    return { value: this.value, schema: this.schema, generation: this.info, signal: this.#aborter.signal, release };
  }

  /**
   * Waits for the leases, or for the deadline and the pinned ones; then fires the signal and disposes.
   * @returns a sentence for each disposer that failed or was too slow
   */
  async retire(drainMs: number): Promise<readonly string[]> {
    const deadline = Number.isFinite(drainMs) ? setTimeout(() => this.#waitOnlyFor('pinned'), drainMs) : undefined;
    deadline?.unref();
    await new Promise<void>((resolve) => {
      this.#onRelease = () => {
        if (this.#waitsFor === 'none' || (this.#waitsFor === 'pinned' ? this.#pinned : this.#leases) === 0) resolve();
      };
      this.#onRelease();
    });
    clearTimeout(deadline);
    this.#aborter.abort(new GraftError('GENERATION_RETIRED', `${this.info.plugin} generation ${this.info.number} was replaced or unloaded.`));
    await this.scope.dispose();
    return this.scope.failures;
  }

  /** The host is going: nothing is waited for any more. */
  expire(): void {
    this.#waitOnlyFor('none');
  }

  report(): GenerationReport {
    const { info, activatedAt, times, build, scope } = this;
    return { ...info, ...times, buildMs: build.ms, leases: this.#leases, holds: scope.holds, activatedAt };
  }

  #waitOnlyFor(whom: 'pinned' | 'none'): void {
    this.#waitsFor = whom;
    this.#onRelease();
  }
}

/** A plugin's own mistake, told with the plugin's name and the line of its source. */
function blamed(build: Build, code: string, what: string, error: unknown): GraftError {
  const place = placeOf(error, build);
  return new GraftError(code, `${build.id} ${what}: ${reasonOf(error)}${place === undefined ? '' : ` (${place})`}`, { cause: error });
}

function named<T>(build: Build, code: string, what: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw blamed(build, code, what, error);
  }
}

async function setUp(build: Build, setup: () => unknown, setupMs: number): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new GraftError('PLUGIN_SETUP_TIMEOUT', `${build.id}: its setup did not finish within ${setupMs} ms.`)), setupMs);
  });
  try {
    return await Promise.race([Promise.resolve().then(setup), late]);
  } catch (error) {
    throw GraftError.is(error) && error.code === 'PLUGIN_SETUP_TIMEOUT' ? error : blamed(build, 'PLUGIN_SETUP', 'failed in its setup', error);
  } finally {
    clearTimeout(timer);
  }
}
