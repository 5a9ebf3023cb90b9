/** Installing what an engine computes with, where that is more than a package that npm can fetch: `graft engine install`. */
import type { EngineProvider } from './engine.ts';
import type { RunEvent } from './events.ts';

/** Where the native library comes from; one of `lib` and `wheel`. */
export interface EngineSource {
  /** Absolute folder with the library and its headers, which stay there. */
  readonly lib?: string;
  /** Absolute path of a Python wheel that has them. */
  readonly wheel?: string;
  readonly gpu: boolean;
}

export interface EngineInstallCall {
  /** Is told of progress and of what a person should know. */
  emit(event: RunEvent): void;
  readonly signal: AbortSignal;
}

/** What is installed, for people: a folder, and facts such as `TensorFlow`, `2.21.0`. */
export interface InstalledEngine {
  readonly dir: string;
  readonly facts: readonly (readonly [label: string, text: string])[];
}

export interface EngineInstaller {
  /**
   * Puts everything into a folder of its own, tries it, and only then into its place: it is there whole or not at all.
   * @throws GraftError saying what is missing and what to do
   */
  install(source: EngineSource, call: EngineInstallCall): Promise<InstalledEngine>;
  /** Undefined where nothing is installed. */
  installed(): Promise<InstalledEngine | undefined>;
  /** Returns the folder that was removed; undefined where there was none. */
  remove(): Promise<string | undefined>;
}

/** An engine's provider that Graft can install something for. */
export interface InstallableEngine extends EngineProvider {
  readonly installer: EngineInstaller;
}
