/** What a plugin is: its manifest on disk, its definition in code, and what the kernel gives it. */
import type { DependencyContainer } from 'tsyringe';
import type { Static, TSchema } from 'typebox';
import type { Stage, StageHooks } from './stage.ts';

/** The `graft` key of a plugin's package.json. Read and checked before any of the plugin's code runs. */
export interface PluginManifest {
  /** The plugin's package name. */
  readonly packageName: string;
  readonly version: string;
  /** Semver range of the plugin API that it was written for, such as `^1.0.0`. */
  readonly api: string;
  /** The hook that it implements. Exactly one of `stage` and `provides` is given. */
  readonly stage?: Stage;
  /** The token that it provides to other plugins and to the host, such as `engine:native`. */
  readonly provides?: string;
  /** What a config's `use:` says. For a provider: a short name to print. */
  readonly name: string;
  /** Names of the tokens that it needs; a stage plugin offers itself as `<stage>:<name>`. */
  readonly consumes: readonly string[];
  /** `live`: a saved edit takes effect in the running host. `restart`: it is reported, and waits for the next start. */
  readonly swap: 'live' | 'restart';
}

/** A typed name for a service. Two tokens of the same name are the same service. */
export interface Token<T> {
  readonly name: string;
  /** Carries the type; never set. */
  readonly __type?: T;
}

/** Releases something. May be asynchronous; the kernel isolates and times it. */
export type Disposer = () => void | Promise<void>;

/** Owns resources and releases them last in, first out, each isolated from the others' failures. */
export interface Scope {
  /**
   * Registers how to release something.
   * @param label what `graft plugins explain` and a slow-disposer warning call it, such as `http server :8080`
   * @returns a function that releases it now, once
   */
  own(label: string, dispose: Disposer): () => Promise<void>;
  /** Acquires a value and registers its release in one go. */
  use<T>(label: string, value: T, dispose: (value: T) => void | Promise<void>): T;
  /** A scope inside this one, disposed with it or on its own. */
  child(label: string): Scope & { dispose(): Promise<void> };
  /** Fires when disposal begins. */
  readonly signal: AbortSignal;
}

/** Structured logging: a message for people and fields for machines. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
  child(fields: Readonly<Record<string, unknown>>): Logger;
}

/** Other plugins that a plugin needs, by a local name of its choice. */
export type Needs = Readonly<Record<string, Token<unknown>>>;

/** The services behind a `Needs`. */
export type Resolved<N extends Needs> = { readonly [K in keyof N]: N[K] extends Token<infer T> ? T : never };

/** What `setup` is given, once per generation. */
export interface SetupContext<N extends Needs = Needs> {
  readonly needs: Resolved<N>;
  /** Everything acquired here is released when the generation is disposed. */
  readonly scope: Scope;
  readonly log: Logger;
  /** The generation's own tsyringe container, a child of the host's. Constructor injection by type works in it. */
  readonly container: DependencyContainer;
  readonly generation: GenerationInfo;
}

/** Identity of one evaluated version of a plugin. */
export interface GenerationInfo {
  /** `<stage>:<name>` or the provided token. */
  readonly plugin: string;
  readonly version: string;
  /** sha256 of the plugin's sources and manifest, hex; its first 12 characters are what people are shown. */
  readonly hash: string;
  /** 1 for the first generation of this slot since the host started. */
  readonly number: number;
}

interface DefinitionBase<C extends TSchema, N extends Needs> {
  /** Schema of one entry of the config: `Type.Object({...})`; every option with a `description`, and a `default` where it has one. */
  readonly config: C;
  readonly needs?: N;
}

/** A plugin that implements a hook. `config` is inferred from the schema in every call. */
export interface StageDefinition<S extends Stage, C extends TSchema, N extends Needs> extends DefinitionBase<C, N> {
  readonly stage: S;
  setup(context: SetupContext<N>): StageHooks<Static<C>>[S] | Promise<StageHooks<Static<C>>[S]>;
}

/** A plugin that provides a service under a token. */
export interface ProviderDefinition<T, C extends TSchema, N extends Needs> extends DefinitionBase<C, N> {
  readonly provides: Token<T>;
  setup(context: SetupContext<N>): T | Promise<T>;
}

/** What `definePlugin` returns and a plugin's index.ts exports as default; the kernel checks its shape at setup. */
export interface PluginDefinition {
  readonly kind: 'graft-plugin';
  readonly stage?: Stage;
  readonly provides?: Token<unknown>;
  readonly config: TSchema;
  readonly needs: Needs;
  setup(context: SetupContext): unknown;
}
