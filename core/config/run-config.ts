import type { Stage } from '../contracts/index.ts';
import type { GraftError } from '../kernel/errors.ts';
import { ConfigError, diagnose } from './diagnostic.ts';
import { keySpan, nearestNode } from './node.ts';
import type { MapNode, NodePath } from './node.ts';
import { locationOf } from './source.ts';
import type { SourceLocation, Span } from './source.ts';

/** One use of a plugin in a config. */
export interface Entry {
  /** The plugin's name. */
  readonly use: string;
  /** Its own options: checked against its schema, defaults filled in. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Where it stands in the config: `['inject', 0]`. */
  readonly path: NodePath;
}

/** What a run needs to know, checked. Every sweep combination is one. */
export interface RunConfig {
  readonly name: string;
  /** The name without what tells the combinations of a sweep apart. */
  readonly experiment: string;
  /** Absolute path of the config file. */
  readonly file: string;
  /** Absolute folder that relative paths in options are relative to: the config file's. */
  readonly baseDir: string;
  readonly seed: number;
  readonly engine: { readonly use: string; readonly threads: number | 'auto' };
  /** Extra plugin folders, absolute. */
  readonly plugins: readonly string[];
  /** Absolute. */
  readonly runsDir: string;
  readonly load: Entry;
  readonly preprocess: readonly Entry[];
  readonly inject: readonly Entry[];
  readonly train: Entry | undefined;
  readonly serve: readonly Entry[];
  /** Whether a daemon that watches its folder queues it by itself. */
  readonly queuesOnChange: boolean;
  /** The merged config with the text that each value was written as. */
  readonly source: MapNode;
  /**
   * All of it as plain data that resolves to the same config again, for the run directory. Environment variables are
   * still `${NAME}`, so that no secret is written to disk.
   */
  readonly resolved: Readonly<Record<string, unknown>>;
  /** Where a value was written; for a default, the nearest thing around it that was. */
  locate(path: NodePath): SourceLocation;
  /** Gives an error of a plugin the place of the option that it is about, or of the entry when it names none. */
  fail(error: GraftError, entry: Entry): ConfigError;
}

/** The parts of a config that are data. */
export type RunConfigData = Omit<RunConfig, 'locate' | 'fail'>;

/** The entries of a config in the order in which their stages run. */
export function entriesOf(config: Pick<RunConfig, 'load' | 'preprocess' | 'inject' | 'train' | 'serve'>): readonly { readonly stage: Stage; readonly entry: Entry }[] {
  return [
    { stage: 'load', entry: config.load },
    ...config.preprocess.map((entry) => ({ stage: 'preprocess' as const, entry })),
    ...config.inject.map((entry) => ({ stage: 'inject' as const, entry })),
    ...(config.train === undefined ? [] : [{ stage: 'train' as const, entry: config.train }]),
    ...config.serve.map((entry) => ({ stage: 'serve' as const, entry })),
  ];
}

export function runConfig(data: RunConfigData): RunConfig {
  return {
    ...data,
    locate: (path) => locationOf(nearestNode(data.source, path).node.span),
    fail: (error, entry) => {
      const hint = error.hint === undefined ? '' : ` ${error.hint}`;
      return new ConfigError([diagnose(spanOf(data.source, entry, error.option ?? []), error.code, `${error.message}${hint}`)], { code: error.code, cause: error });
    },
  };
}

/** The option's value where it was written; the name of the plugin where the option has its default. */
function spanOf(root: MapNode, entry: Entry, option: NodePath): Span {
  for (let length = option.length; length > 0; length--) {
    const { node, exact } = nearestNode(root, [...entry.path, ...option.slice(0, length)]);
    if (exact) return node.span;
  }
  return useSpan(root, entry.path);
}

/** Where an entry says which plugin it uses. */
export function useSpan(root: MapNode, path: NodePath): Span {
  const use = nearestNode(root, [...path, 'use']);
  if (use.exact) return use.node.span;
  const bare = nearestNode(root, path);
  return bare.exact && bare.node.kind === 'scalar' ? bare.node.span : keySpan(root, path);
}
