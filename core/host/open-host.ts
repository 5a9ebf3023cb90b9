import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Kernel, Logger } from '../contracts/index.ts';
import { createKernel } from '../kernel/kernel.ts';
import { API_VERSION } from '../kernel/manifest.ts';
import { cacheDir } from '../tensor/cache-dir.mjs';
import { collectAfterSwaps } from './collector.ts';
import { KeptBuilds } from './kept-builds.ts';
import { SetupGuard } from './setup-guard.ts';
import { stderrLogger } from './stderr-log.ts';

/** Graft's own folder: where the built-in plugins and configs are. */
export const GRAFT_HOME = fileURLToPath(new URL('../..', import.meta.url));

/** Milliseconds that a plugin's code may run before it gives the thread back. */
const HELD_MS = 10_000;

/** What a command works with. */
export interface Host {
  readonly kernel: Kernel;
  readonly log: Logger;
  /** Absolute folder for caches that outlive a run: `GRAFT_CACHE`, else `graft` in the user's cache folder. */
  readonly cacheDir: string;
  dispose(): Promise<void>;
}

export interface HostOptions {
  /** Plugin folders beside the built-in ones, absolute: a config's `plugins:`. */
  readonly pluginDirs?: readonly string[];
  /** Swap plugins when their files change. */
  readonly watch?: boolean;
  readonly log?: Logger;
  /** How long the setup of a plugin may take; default 10 s. */
  readonly setupMs?: number;
  /** How long a plugin's code may hold the thread; default 10 s, or `setupMs` where that is longer. */
  readonly heldMs?: number;
}

/** The modules that plugins share with the host: one instance of each in the process. */
async function hostModules(): Promise<Record<string, unknown>> {
  const [graft, typebox, tfCore, tsyringe, reflect] = await Promise.all([
    import('../index.ts'),
    import('typebox'),
    import('@tensorflow/tfjs-core'),
    import('tsyringe'),
    import('reflect-metadata'),
  ]);
  // As Node shows an ES module: of one that lies in a bundle, its default would be taken for the whole.
  return {
    ...{ graft, typebox: { ...typebox, __esModule: true }, '@tensorflow/tfjs-core': tfCore, tsyringe, 'reflect-metadata': reflect },
    // All of it, for a plugin that asks for it; Graft stands on a part.
    get '@tensorflow/tfjs'() {
      return createRequire(import.meta.url)('@tensorflow/tfjs') as unknown;
    },
  };
}

/**
 * Starts a kernel over the built-in plugins, the working directory's `plugins/` and `node_modules/`, and the folders named.
 * Nothing is evaluated twice; the caller disposes the host.
 */
export async function openHost(options: HostOptions = {}): Promise<Host> {
  await import('reflect-metadata');
  const log = options.log ?? stderrLogger();
  const dirs = [...new Set([join(GRAFT_HOME, 'plugins'), join(process.cwd(), 'plugins'), ...(options.pluginDirs ?? [])])];
  const guard = new SetupGuard(options.heldMs ?? Math.max(HELD_MS, options.setupMs ?? 0));
  const kernel = await createKernel({
    dirs,
    packagesFrom: [join(process.cwd(), 'node_modules')],
    hostModules: await hostModules(),
    apiVersion: API_VERSION,
    log,
    buildCache: new KeptBuilds(join(cacheDir(), 'builds')),
    watch: options.watch ?? false,
    setupMs: options.setupMs,
    bounded: (act) => guard.run(act),
  });
  const stop = options.watch === true ? collectAfterSwaps(kernel) : undefined;
  const dispose = async (): Promise<void> => {
    await stop?.();
    await kernel.dispose();
    guard.dispose();
  };
  return { kernel, log, cacheDir: cacheDir(), dispose };
}
