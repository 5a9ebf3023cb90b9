/** The servers of a config's `serve:` entries, kept running while their own code changes. */
import type { Disposer, Kernel, Lease, Logger, RunningServer, ServeHook, ServedModels, StageCall } from '../contracts/index.ts';
import type { Entry } from '../config/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { within } from '../kernel/generation.ts';
import { createScope, type OwnedScope } from '../kernel/scope.ts';

export interface ServersHost {
  readonly kernel: Kernel;
  readonly log: Logger;
  readonly models: ServedModels;
  /** What an entry's hook is called with, but for the scope. */
  call(entry: Entry): Omit<StageCall<unknown>, 'scope'>;
  /** Gives what a plugin threw the place of the option that it is about. */
  placed(entry: Entry, error: unknown): unknown;
  /** Milliseconds that a plugin's `serve` may take; by default a minute. */
  readonly startMs?: number;
}

const START_MS = 60_000;

type OnStart = (url: string) => void | Promise<void>;

interface Running {
  readonly server: RunningServer;
  readonly lease: Lease<ServeHook>;
  readonly scope: OwnedScope;
}

/** One entry's server. A new generation of its plugin takes over the port; the old one finishes the answers in flight. */
export class HotServer {
  readonly #host: ServersHost;
  readonly #entry: Entry;
  readonly #onStart: OnStart;
  #running: Running;
  #swapping: Promise<void> = Promise.resolve();
  readonly #unfollow: Disposer;

  private constructor(host: ServersHost, entry: Entry, running: Running, onStart: OnStart) {
    this.#host = host;
    this.#entry = entry;
    this.#running = running;
    this.#onStart = onStart;
    this.#unfollow = host.kernel.on((event) => {
      if (event.type === 'swapped' && event.generation.plugin === `serve:${entry.use}`) this.#swapping = this.#swapping.then(() => this.#swap()).catch((error: unknown) => host.log.error(`serve:${entry.use} could not be started again: ${reasonOf(error)}`));
    });
  }

  /**
   * Starts the server of an entry.
   * @param onStart is told the address, again after each take-over; where the new server has another port than the old, that one is
   *   closed when it has resolved
   * @throws ConfigError or GraftError where the plugin refuses its options or can't listen
   */
  static async start(host: ServersHost, entry: Entry, onStart: OnStart): Promise<HotServer> {
    const running = await start(host, entry, leaseOf(host, entry));
    await onStart(running.server.url);
    return new HotServer(host, entry, running, onStart);
  }

  get url(): string {
    return this.#running.server.url;
  }

  /** Stops listening and resolves when the answers in flight have ended. */
  async close(): Promise<void> {
    await this.#unfollow();
    await this.#swapping;
    await end(this.#running);
  }

  async #swap(): Promise<void> {
    const { log, kernel } = this.#host;
    const old = this.#running;
    // Of several edits in a row the newest may have been taken up already.
    if (isCurrent(kernel, this.#entry, old.lease)) return;
    // Where any port will do, the new one is open before the old one closes. Else the port is free as soon as the old server begins to
    // close; its answers in flight end by themselves.
    const anyPort = (this.#entry.options as { readonly port?: unknown }).port === 0;
    let drained = anyPort ? undefined : old.server.close();
    let lease: Lease<ServeHook> | undefined;
    try {
      lease = kernel.lease('serve', this.#entry.use, { pinned: true });
      this.#running = await start(this.#host, this.#entry, lease);
      await this.#onStart(this.url);
      drained ??= old.server.close();
    } catch (error) {
      lease?.release();
      log.error(`The new generation of serve:${this.#entry.use} can't start, so the one before goes on: ${reasonOf(error)}`);
      if (drained === undefined) return;
      lease = old.lease;
      this.#running = await start(this.#host, this.#entry, lease);
      await this.#onStart(this.url);
    }
    const replaced = lease !== old.lease;
    void drained
      .then(() => old.scope.dispose())
      .then(() => replaced && old.lease.release())
      .catch((error: unknown) => log.error(`The old server ${old.server.url} did not close: ${reasonOf(error)}`));
  }
}

function leaseOf({ kernel, placed }: ServersHost, entry: Entry): Lease<ServeHook> {
  try {
    return kernel.lease('serve', entry.use, { pinned: true });
  } catch (error) {
    throw placed(entry, error);
  }
}

async function start(host: ServersHost, entry: Entry, lease: Lease<ServeHook>): Promise<Running> {
  const scope = createScope(`server ${entry.use}`, host.log);
  const ms = host.startMs ?? START_MS;
  let starting: Promise<RunningServer> | undefined;
  try {
    starting = Promise.resolve(lease.value.serve({ ...host.call(entry), scope, models: host.models }));
    const server = await within(ms, starting, new GraftError('SERVE_TIMEOUT', `serve:${entry.use} did not start within ${ms / 1000} s.`, { hint: 'Its `serve` must resolve when it listens.' }));
    return { server, lease, scope };
  } catch (error) {
    // One that starts all the same, later, is closed.
    void starting?.then((server) => server.close()).catch(() => undefined);
    await scope.dispose();
    throw host.placed(entry, error);
  }
}

function isCurrent(kernel: Kernel, { use }: Entry, { generation }: Lease<ServeHook>): boolean {
  const lease = kernel.lease('serve', use);
  lease.release();
  return lease.generation.hash === generation.hash;
}

async function end({ server, lease, scope }: Running): Promise<void> {
  await server.close();
  await scope.dispose();
  lease.release();
}
