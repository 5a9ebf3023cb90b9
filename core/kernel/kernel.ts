import { existsSync } from 'node:fs';
import { closest } from 'fastest-levenshtein';
import type { TSchema } from 'typebox';
import type { Disposer, Kernel, KernelEvent, KernelOptions, KernelReport, Lease, LeaseOptions, PluginFolder, Rejection, Stage, StageHooks } from '../contracts/index.ts';
import { buildPlugin, type Build } from './builder.ts';
import { discover, foldersIn, packagesIn } from './discovery.ts';
import { GraftError, reasonOf } from './errors.ts';
import { Generation } from './generation.ts';
import { STAGES } from './hooks.ts';
import { signatureOf } from './signature.ts';
import { Slot } from './slot.ts';
import { activate, type SwapHost } from './swap.ts';
import { watchFolders } from './watcher.ts';

/** Finds, builds and sets up every plugin of the folders; one that fails is reported and does not keep the others from working. */
export function createKernel(options: KernelOptions): Promise<Kernel> {
  return new Microkernel(options).start();
}

class Microkernel implements Kernel, SwapHost {
  readonly idToSlot = new Map<string, Slot>();
  readonly #idToConfigs = new Map<string, Set<{ readonly config: unknown }>>();
  readonly #listeners = new Set<(event: KernelEvent) => void>();
  readonly #gone = new Set<Slot>();
  #rejected: readonly Rejection[] = [];
  #packages: readonly string[] = [];
  #turn: Promise<void> = Promise.resolve();
  #watcher: { close(): Promise<void> } | undefined;
  #disposal: Promise<void> | undefined;

  constructor(private readonly options: KernelOptions) {}

  async start(): Promise<Kernel> {
    // Watching begins before reading, so that no edit falls between the two. What fails there is logged by its turn.
    const look = (since: number): void => void this.#take(() => this.#refresh(since)).catch(() => {});
    if (this.options.watch === true) this.#watcher = await watchFolders(this.options.dirs, look);
    await this.refresh();
    return this;
  }

  lease<S extends Stage>(stage: S, name: string, options?: LeaseOptions): Lease<StageHooks[S]> {
    return this.leaseToken(`${stage}:${name}`, options);
  }

  leaseToken<T>(token: string, { pinned = false }: LeaseOptions = {}): Lease<T> {
    const slot = this.idToSlot.get(token);
    if (slot === undefined) throw unknownPlugin(token, [...this.idToSlot.keys()]);
    if (slot.current === undefined) throw new GraftError('PLUGIN_UNAVAILABLE', `The plugin ${token} cannot be used: ${slot.reason}`, { hint: '`graft plugins explain` says more.' });
    return slot.current.acquire(pinned ? 'pinned' : 'call') as Lease<T>;
  }

  names(stageOrPrefix: string): readonly string[] {
    const slots = [...this.idToSlot.values()];
    if (STAGES.includes(stageOrPrefix as Stage)) return slots.filter(({ manifest }) => manifest.stage === stageOrPrefix).map(({ manifest }) => manifest.name).sort();
    return slots.map(({ id }) => id).filter((id) => id.startsWith(stageOrPrefix)).sort();
  }

  schema(stage: Stage, name: string): TSchema | undefined {
    return this.idToSlot.get(`${stage}:${name}`)?.current?.schema;
  }

  bind(stage: Stage, name: string, config: unknown): () => void {
    const id = `${stage}:${name}`;
    const bound = { config };
    const configs = this.#idToConfigs.get(id) ?? new Set();
    this.#idToConfigs.set(id, configs.add(bound));
    return () => void configs.delete(bound);
  }

  explain(): KernelReport {
    const slots = [...this.idToSlot.values(), ...this.#gone];
    const dependents = (id: string): readonly string[] => slots.filter((slot) => !slot.removed && slot.manifest.consumes.includes(id)).map((slot) => slot.id);
    return { apiVersion: this.options.apiVersion, slots: slots.sort((a, b) => a.id.localeCompare(b.id)).map((slot) => slot.report(dependents(slot.id))), rejected: this.#rejected };
  }

  on(listener: (event: KernelEvent) => void): Disposer {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  refresh(): Promise<void> {
    return this.#take(async () => {
      this.#packages = (await Promise.all((this.options.packagesFrom ?? []).map(packagesIn))).flat();
      await this.#refresh(performance.now());
    });
  }

  dispose(): Promise<void> {
    return (this.#disposal ??= (async () => {
      await this.#watcher?.close();
      await this.#turn;
      for (const slot of [...this.idToSlot.values()]) this.#remove(slot);
      const draining = [...this.#gone].flatMap((slot) => [...slot.draining]);
      for (const [generation] of draining) generation.expire();
      await Promise.all(draining.map(([, retirement]) => retirement));
    })());
  }

  prepare(slot: Slot, build: Build, tokenToProvider: ReadonlyMap<string, Generation>): Promise<Generation> {
    const configs = [...(this.#idToConfigs.get(slot.id) ?? [])].map(({ config }) => config);
    return Generation.prepare(build, slot.generations + 1, tokenToProvider, configs, this.options);
  }

  fail(slot: Slot, error: unknown): void {
    const failure = { code: GraftError.is(error) ? error.code : 'PLUGIN_FAILED', reason: GraftError.is(error) ? error.message : `${slot.id}: ${reasonOf(error)}` };
    const serving = slot.current === undefined ? '' : `${failure.reason.endsWith('.') ? '' : '.'} Generation ${slot.current.info.number} goes on serving.`;
    slot.failure = failure;
    slot.failures++;
    this.options.log.error(`${failure.reason}${serving}`, { plugin: slot.id, code: failure.code });
    this.#emit({ type: 'swap-failed', plugin: slot.id, ...failure });
  }

  publish(slot: Slot, generation: Generation | undefined): void {
    const old = slot.current;
    slot.current = generation;
    if (generation !== undefined) {
      generation.activatedAt = new Date();
      const saveToActiveMs = performance.now() - slot.editedAt;
      if (slot.generations++ > 0) this.options.log.info(`${slot.id} generation ${slot.generations} serves, ${saveToActiveMs.toFixed(0)} ms after the edit.`);
      this.#emit({ type: 'swapped', generation: generation.info, saveToActiveMs });
    }
    if (old !== undefined) this.#retire(slot, old);
  }

  #retire(slot: Slot, generation: Generation): void {
    const began = performance.now();
    const retirement = generation.retire(this.options.drainMs ?? 30_000).then((failures) => {
      slot.draining.delete(generation);
      if (slot.draining.size === 0) this.#gone.delete(slot);
      this.#emit({ type: 'disposed', generation: generation.info, ms: performance.now() - began, failures });
    });
    slot.draining.set(generation, retirement);
  }

  #remove(slot: Slot): void {
    this.idToSlot.delete(slot.id);
    slot.removed = true;
    if (slot.current !== undefined) this.publish(slot, undefined);
    if (slot.draining.size > 0) this.#gone.add(slot);
    this.#emit({ type: 'removed', plugin: slot.id });
  }

  /** One change of the plugins at a time. */
  #take(act: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(act);
    this.#turn = turn.catch((error: unknown) => this.options.log.error(`The plugin folders could not be read: ${reasonOf(error)}`));
    return turn;
  }

  async #refresh(since: number): Promise<void> {
    if (this.#disposal !== undefined) return;
    const own = await Promise.all(this.options.dirs.map(foldersIn));
    const { idToFolder, rejected } = await discover([...own.flat(), ...this.#packages], this.options.apiVersion);
    const removed = this.#reconcile(idToFolder, rejected);
    const builds = await Promise.all([...idToFolder.values()].map((folder) => this.#build(this.idToSlot.get(folder.id)!, folder, since)));
    await activate(new Map(builds.filter((build) => build !== undefined).map((build) => [build.id, build])), removed, this);
  }

  /** Brings the list of slots in line with what is on disk; returns the ids that are gone. */
  #reconcile(idToFolder: ReadonlyMap<string, PluginFolder>, rejected: readonly Rejection[]): readonly string[] {
    const known = new Set(this.#rejected.map(({ dir, reason }) => `${dir}\0${reason}`));
    this.#rejected = rejected;
    for (const rejection of rejected.filter(({ dir, reason }) => !known.has(`${dir}\0${reason}`))) {
      const slot = [...this.idToSlot.values()].find(({ folder }) => folder.dir === rejection.dir);
      if (slot !== undefined && keepsServing(slot, rejection)) this.fail(slot, new GraftError(rejection.code, rejection.reason));
      else this.options.log[rejection.code === 'MANIFEST_MISSING' ? 'debug' : 'warn'](`${rejection.reason} It is skipped.`);
      this.#emit({ type: 'rejected', rejection });
    }
    const gone = [...this.idToSlot.values()].filter((slot) => !idToFolder.has(slot.id) && !rejected.some((rejection) => keepsServing(slot, rejection)));
    for (const slot of gone) this.#remove(slot);
    for (const folder of idToFolder.values()) {
      if (this.idToSlot.has(folder.id)) continue;
      this.idToSlot.set(folder.id, new Slot(folder));
      this.#emit({ type: 'added', plugin: folder.id });
    }
    return gone.map(({ id }) => id);
  }

  /** Builds a slot whose files were touched; returns what has to be set up. */
  async #build(slot: Slot, folder: PluginFolder, since: number, looks = 5): Promise<Build | undefined> {
    const signature = await signatureOf(folder.dir);
    slot.folder = folder;
    if (slot.signature === signature) return undefined;
    slot.signature = signature;
    slot.editedAt = since;
    const built = await buildPlugin(folder, this.options.buildCache).catch((error: unknown) => ({ error }));
    // Written to while it was read, as by a checkout: what was built may be half of each.
    if (looks > 1 && existsSync(folder.entry) && (await signatureOf(folder.dir)) !== signature) return this.#build(slot, folder, since, looks - 1);
    if ('error' in built) return void this.fail(slot, built.error);
    slot.latest = built;
    const serving = slot.current?.build;
    if (built.hash === serving?.hash && built.dir === serving.dir) return void (slot.failure = undefined);
    if (serving === undefined || folder.manifest.swap === 'live') return built;
    return void this.fail(slot, new GraftError('RESTART_REQUIRED', `${slot.id} was edited; it is swapped only when the host starts.`));
  }

  #emit(event: KernelEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#listeners.delete(listener);
        this.options.log.error(`A subscriber to the kernel's events failed and was dropped: ${reasonOf(error)}`);
      }
    }
  }
}

/** A broken edit of the manifest leaves what serves in place; a manifest that is gone takes the plugin with it. */
function keepsServing(slot: Slot, { dir, code }: Rejection): boolean {
  return slot.current !== undefined && slot.folder.dir === dir && code !== 'MANIFEST_MISSING' && code !== 'PLUGIN_DUPLICATE';
}

function unknownPlugin(token: string, ids: readonly string[]): GraftError {
  const alike = ids.filter((id) => id.startsWith(token.slice(0, token.indexOf(':') + 1))).sort();
  const hint = alike.length === 0 ? '`graft plugins` lists what there is.' : `Did you mean ${closest(token, alike)}? There are: ${alike.join(', ')}.`;
  return new GraftError('PLUGIN_UNKNOWN', `There is no plugin ${token}.`, { hint });
}
