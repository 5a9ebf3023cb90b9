import { isDeepStrictEqual } from 'node:util';
import { formatDotted } from './dotted.ts';

export interface OptionDifference {
  /** Dotted path, as `--set` takes it. */
  readonly option: string;
  /** Undefined where it is not there. */
  readonly from?: unknown;
  readonly to?: unknown;
}

/** Says where a run is kept rather than what it does. */
const NOT_OPTIONS: ReadonlySet<string> = new Set(['name', 'runs_dir', 'queue']);

/** Every single value of a resolved config by its dotted path; a list of plain values is one. */
export function optionsIn(resolved: Readonly<Record<string, unknown>>): ReadonlyMap<string, unknown> {
  const found = new Map<string, unknown>();
  const walk = (value: unknown, path: readonly (string | number)[]): void => {
    const below = Array.isArray(value) ? value.entries() : typeof value === 'object' && value !== null ? Object.entries(value) : undefined;
    if (below === undefined || (Array.isArray(value) && value.every((item) => typeof item !== 'object' || item === null))) return void found.set(formatDotted(path), value);
    for (const [key, each] of below) walk(each, [...path, key]);
  };
  for (const [key, value] of Object.entries(resolved)) if (!NOT_OPTIONS.has(key)) walk(value, [key]);
  return found;
}

/** In which options two resolved configs differ, in their order. */
export function differencesOf(from: Readonly<Record<string, unknown>>, to: Readonly<Record<string, unknown>>): readonly OptionDifference[] {
  const [before, after] = [optionsIn(from), optionsIn(to)];
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((option) => (isDeepStrictEqual(before.get(option), after.get(option)) ? [] : [{ option, from: before.get(option), to: after.get(option) }]));
}

/** The options in which several resolved configs are not all the same, in the order of their appearance. */
export function differingOptions(configs: readonly Readonly<Record<string, unknown>>[]): readonly string[] {
  const all = configs.map(optionsIn);
  return [...new Set(all.flatMap((options) => [...options.keys()]))].filter((option) => all.some((options) => !isDeepStrictEqual(options.get(option), all[0]!.get(option))));
}
