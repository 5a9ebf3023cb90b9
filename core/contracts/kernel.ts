/** What the rooms above the kernel use of it. */
import type { TSchema } from 'typebox';
import type { Disposer, GenerationInfo, Logger, PluginManifest } from './plugin.ts';
import type { Stage, StageHooks } from './stage.ts';

/** A plugin folder that may be built: everything known of it before its code runs. */
export interface PluginFolder {
  /** `<stage>:<name>` or the provided token: what the plugin is known by, and the token under which it is consumed. */
  readonly id: string;
  readonly dir: string;
  readonly manifest: PluginManifest;
  /** Absolute path of the module whose default export is the definition. */
  readonly entry: string;
  /** The bytes of package.json: they are part of a generation's hash. */
  readonly source: string;
}

/** One content of one plugin as a single CommonJS module, and what it was made of. */
export interface KeptBuild {
  readonly code: string;
  /** sha256 of package.json and of every file that the bundle takes in, hex. */
  readonly hash: string;
  /** Absolute paths of the files that are in it. */
  readonly files: readonly string[];
  /** Which file each import was found to mean, `[folder of the importer, specifier, file]`: one that is added may be meant instead. */
  readonly imports: readonly (readonly [string, string, string])[];
}

/** Builds that outlive the process. The kernel judges whether one is still good. */
export interface BuildCache {
  read(entry: string): KeptBuild | undefined;
  write(entry: string, build: KeptBuild): void;
}

/** What a kernel is made with. */
export interface KernelOptions {
  /** Folders whose subfolders are plugins, or that are plugins themselves; of two plugins of one id the earlier is taken. */
  readonly dirs: readonly string[];
  /** node_modules folders whose packages may be plugins; read at the start and on `refresh()`, not watched. */
  readonly packagesFrom?: readonly string[];
  /** Packages that plugins share with the host, one instance each: `graft`, `typebox`, `@tensorflow/tfjs`. */
  readonly hostModules: Readonly<Record<string, unknown>>;
  readonly apiVersion: string;
  readonly log: Logger;
  /** Without one, every start builds every plugin. */
  readonly buildCache?: BuildCache;
  /** Swap plugins when their files change. Default: only on `refresh()`. */
  readonly watch?: boolean;
  /** How long a replaced generation waits for its leases. Default 30 s. */
  readonly drainMs?: number;
  /** How long one disposer may take. Default 5 s. */
  readonly disposeMs?: number;
  /** How long a setup may take. Default 10 s. */
  readonly setupMs?: number;
  /** Runs a plugin's code, and breaks it off where it never gives the thread back. Default: as it is. */
  readonly bounded?: <T>(act: () => T | Promise<T>) => T | Promise<T>;
}

/** One use of one generation. While it is held, that generation is not disposed (up to the drain deadline). */
export interface Lease<T> {
  readonly value: T;
  readonly schema: TSchema;
  readonly generation: GenerationInfo;
  /** Fires when the generation has been replaced and its drain deadline has passed. */
  readonly signal: AbortSignal;
  release(): void;
}

export interface LeaseOptions {
  /** The generation is kept however long this lease is held, past any drain deadline: a run ends on the code that it began with. */
  readonly pinned?: boolean;
}

export type SlotState = 'active' | 'pending' | 'failed' | 'disabled';

/** A folder that is not a plugin that can run, and why. */
export interface Rejection {
  readonly dir: string;
  readonly code: string;
  readonly reason: string;
}

export interface SlotReport {
  /** `<stage>:<name>` or the provided token. */
  readonly id: string;
  readonly manifest: PluginManifest;
  readonly dir: string;
  readonly state: SlotState;
  /** What a pending slot waits for, or why the newest edit is not serving. */
  readonly reason?: string;
  readonly consumes: readonly string[];
  readonly dependents: readonly string[];
  readonly current?: GenerationReport;
  /** Replaced generations with calls still in flight. */
  readonly draining: readonly GenerationReport[];
  readonly swaps: number;
  readonly failures: number;
}

export interface GenerationReport extends GenerationInfo {
  readonly leases: number;
  /** Labels of what its scope holds open, in the order acquired. */
  readonly holds: readonly string[];
  readonly buildMs: number;
  readonly evaluateMs: number;
  readonly setupMs: number;
  readonly activatedAt: Date;
}

export interface KernelReport {
  readonly apiVersion: string;
  readonly slots: readonly SlotReport[];
  readonly rejected: readonly Rejection[];
}

export type KernelEvent =
  | { readonly type: 'swapped'; readonly generation: GenerationInfo; readonly saveToActiveMs: number }
  | { readonly type: 'swap-failed'; readonly plugin: string; readonly code: string; readonly reason: string }
  | { readonly type: 'added' | 'removed'; readonly plugin: string }
  | { readonly type: 'rejected'; readonly rejection: Rejection }
  | { readonly type: 'disposed'; readonly generation: GenerationInfo; readonly ms: number; readonly failures: readonly string[] };

/** The microkernel as the rooms above see it. */
export interface Kernel {
  /**
   * Takes a use of a stage plugin's current generation.
   * @throws GraftError `PLUGIN_UNKNOWN` (with the nearest name) or `PLUGIN_UNAVAILABLE` (with the reason)
   */
  lease<S extends Stage>(stage: S, name: string, options?: LeaseOptions): Lease<StageHooks[S]>;
  /** The same for a provided token. */
  leaseToken<T>(token: string, options?: LeaseOptions): Lease<T>;
  /** Names that `use:` may say for a stage, or token names with a prefix such as `engine:`. */
  names(stageOrPrefix: Stage | string): readonly string[];
  /** Schema of a plugin's config, for checking a config without running anything. */
  schema(stage: Stage, name: string): TSchema | undefined;
  /**
   * Tells the kernel that a config entry is in use: a new generation whose schema refuses it is not activated.
   * @returns a function that ends the use
   */
  bind(stage: Stage, name: string, config: unknown): () => void;
  explain(): KernelReport;
  on(listener: (event: KernelEvent) => void): Disposer;
  /** Rebuilds what changed on disk now, as the watcher would; resolves when every swap has succeeded or failed. */
  refresh(): Promise<void>;
  dispose(): Promise<void>;
}
