/**
 * Which modules a strategy stands on, chosen as PEFT chooses them: the same config picks the same modules there and here.
 * Format: PEFT 0.21, `tuners_utils.check_target_module_exists` and `utils.other.get_pattern_key`.
 */
import { distance } from 'fastest-levenshtein';
import type { Site } from '../contracts/index.ts';
import { GraftError, type OptionPath } from '../kernel/errors.ts';

/** Shorthand for every linear layer but the output layer. */
export const ALL_LINEAR = 'all-linear';

/** PEFT's options of the same names. */
export interface ModuleSelection {
  /** Names or suffixes of module paths, one regular expression that must match a whole path, or `all-linear`. */
  readonly target_modules: readonly string[] | string;
  readonly exclude_modules?: readonly string[] | string | null;
  /** Layers, from 0; only for modules chosen by suffix. */
  readonly layers_to_transform?: readonly number[] | number | null;
  /** Name of the list of layers in a path, such as `layers`. */
  readonly layers_pattern?: readonly string[] | string | null;
  /** Modules trained in full: never targeted too. */
  readonly modules_to_save?: readonly string[] | null;
}

/**
 * The linear sites that a selection picks, in the model's own order.
 * @throws GraftError `TARGET_MODULES_NO_MATCH`, `TARGET_MODULES_EXCLUDED`, `EXCLUDE_MODULES_NO_MATCH`,
 *   `LAYERS_TO_TRANSFORM` or `MODULE_PATTERN`, each with the option at fault and the nearest valid names
 */
export function selectLinearSites(sites: ReadonlyMap<string, Site>, selection: ModuleSelection): readonly Site[] {
  const linear = [...sites.values()].filter((site) => site.kind === 'linear');
  checkLayerOptions(selection);
  const excluded = excluder(linear, selection);
  const matched = matchTargets(linear, selection);
  const inLayers = matched.filter((match) => match.exact || layerIsChosen(match.site.path, selection));
  if (inLayers.length === 0) throw noLayer(matched.map((match) => match.site.path), selection);
  checkLayersExist(inLayers.map((match) => match.site.path), selection);
  const chosen = inLayers.map((match) => match.site).filter((site) => !excluded(site.path));
  if (chosen.length === 0) {
    throw new GraftError(
      'TARGET_MODULES_EXCLUDED',
      `every module that target_modules matches is taken out again by exclude_modules or modules_to_save: ${listed(inLayers.map((match) => match.site.path))}.`,
      { option: ['target_modules'], hint: 'Target other modules, or exclude fewer.' },
    );
  }
  return chosen;
}

/** PEFT's rule for the names in a list: the whole path, or its end after a dot. */
export function isNamed(path: string, name: string): boolean {
  return path === name || path.endsWith(`.${name}`);
}

/**
 * The value of the first pattern that matches the end of a path, as in `rank_pattern` and `alpha_pattern`.
 * @param option name of the option, for errors
 */
export function patternValue(patterns: Readonly<Record<string, number>>, path: string, fallback: number, option: string): number {
  const key = Object.keys(patterns).find((pattern) => patternOf(`(.*\\.)?(${pattern})`, [option, pattern]).test(path));
  return key === undefined ? fallback : patterns[key]!;
}

/** @throws GraftError `PATTERN_NO_MATCH` where a pattern of `rank_pattern` or `alpha_pattern` matches none of the modules chosen */
export function checkPatternsMatch(patterns: Readonly<Record<string, number>>, paths: readonly string[], option: string): void {
  for (const pattern of Object.keys(patterns)) {
    const expression = patternOf(`(.*\\.)?(${pattern})`, [option, pattern]);
    if (paths.some((path) => expression.test(path))) continue;
    throw new GraftError('PATTERN_NO_MATCH', `${option}: "${pattern}" matches none of the targeted modules.${didYouMean(pattern, paths)}`, {
      option: [option, pattern],
      hint: `Targeted: ${listed(paths)}.`,
    });
  }
}

/** "Did you mean": the valid name nearest to what was written, with a leading space, or nothing where none is near. */
export function didYouMean(written: string, paths: readonly string[]): string {
  const allowed = Math.max(1, Math.floor(written.length / 3));
  const [nearest] = candidates(paths)
    .map((name) => ({ name, changes: distance(written.toLowerCase(), name.toLowerCase()) }))
    .filter(({ changes }) => changes <= allowed)
    .sort((a, b) => a.changes - b.changes);
  return nearest === undefined ? '' : ` Did you mean "${nearest.name}"?`;
}

interface Match {
  readonly site: Site;
  /** Named by its whole path, which PEFT takes whatever `layers_to_transform` says. */
  readonly exact: boolean;
}

function matchTargets(linear: readonly Site[], { target_modules: targets }: ModuleSelection): readonly Match[] {
  const paths = linear.map((site) => site.path);
  if (typeof targets === 'string') {
    const all = targets.toLowerCase() === ALL_LINEAR;
    const expression = all ? undefined : patternOf(targets, ['target_modules']);
    const sites = linear.filter((site) => (expression === undefined ? site.path !== 'lm_head' : expression.test(site.path)));
    if (sites.length === 0) throw noRegexTarget(targets, paths);
    return sites.map((site) => ({ site, exact: true }));
  }
  targets.forEach((name, index) => {
    if (!paths.some((path) => isNamed(path, name))) throw noTarget(name, ['target_modules', index], paths);
  });
  if (targets.length === 0) throw noTarget('[]', ['target_modules'], paths);
  return linear
    .filter((site) => targets.some((name) => isNamed(site.path, name)))
    .map((site) => ({ site, exact: targets.includes(site.path) }));
}

function excluder(linear: readonly Site[], { exclude_modules: excluded, modules_to_save: saved }: ModuleSelection): (path: string) => boolean {
  const paths = linear.map((site) => site.path);
  const tests: ((path: string) => boolean)[] = [];
  if (typeof excluded === 'string' && excluded !== '') {
    const expression = patternOf(excluded, ['exclude_modules']);
    tests.push((path) => expression.test(path));
    if (!paths.some((path) => expression.test(path))) throw noExclusion(excluded, ['exclude_modules'], paths);
  } else if (Array.isArray(excluded)) {
    (excluded as readonly string[]).forEach((name, index) => {
      if (!paths.some((path) => isNamed(path, name))) throw noExclusion(name, ['exclude_modules', index], paths);
      tests.push((path) => isNamed(path, name));
    });
  }
  (saved ?? []).forEach((name, index) => {
    const expression = patternOf(`(.*\\.)?${name}(\\..*)?`, ['modules_to_save', index]);
    tests.push((path) => expression.test(path));
  });
  return (path) => tests.some((test) => test(path));
}

function checkLayerOptions({ target_modules: targets, layers_to_transform: layers, layers_pattern: patterns }: ModuleSelection): void {
  const needsList = layers != null ? 'layers_to_transform' : patterns != null && patterns.length > 0 ? 'layers_pattern' : undefined;
  if (needsList === undefined) return;
  if (typeof targets === 'string') {
    throw new GraftError('LAYERS_TO_TRANSFORM', `${needsList} works only with a list of target_modules, not with ${targets.toLowerCase() === ALL_LINEAR ? `"${ALL_LINEAR}"` : 'a regular expression'}.`, {
      option: [needsList],
      hint: 'List the modules by name, or say the layers in the regular expression.',
    });
  }
  if (layers == null) {
    throw new GraftError('LAYERS_TO_TRANSFORM', 'layers_pattern says where the layer number stands in a path; layers_to_transform must say which layers.', {
      option: ['layers_pattern'],
      hint: 'Add layers_to_transform, or remove layers_pattern.',
    });
  }
}

function layersOf({ layers_to_transform: layers }: ModuleSelection): readonly number[] {
  return layers == null ? [] : typeof layers === 'number' ? [layers] : layers;
}

/** The layer number of a path: its first numbered segment, or the one after a name of `layers_pattern`. */
function layerOf(path: string, { layers_pattern: patterns }: ModuleSelection): number | undefined {
  const names = patterns == null ? [] : typeof patterns === 'string' ? [patterns].filter((name) => name !== '') : patterns;
  const expressions = names.length === 0 ? [/^.*?\.[^.]*\.(\d+)\./] : names.map((name, index) => patternOf(`(?:.*?\\.)?${name}\\.(\\d+)\\..*`, ['layers_pattern', index]));
  for (const expression of expressions) {
    const digits = expression.exec(path)?.[1];
    if (digits !== undefined) return Number(digits);
  }
  return undefined;
}

function layerIsChosen(path: string, selection: ModuleSelection): boolean {
  const layers = layersOf(selection);
  if (layers.length === 0) return true;
  const layer = layerOf(path, selection);
  return layer !== undefined && layers.includes(layer);
}

/** Every layer asked for must exist: a number past the last layer is a mistake, not an empty set. */
function checkLayersExist(paths: readonly string[], selection: ModuleSelection): void {
  layersOf(selection).forEach((layer, index) => {
    if (paths.some((path) => layerOf(path, selection) === layer)) return;
    const option: OptionPath = typeof selection.layers_to_transform === 'number' ? ['layers_to_transform'] : ['layers_to_transform', index];
    throw new GraftError('LAYERS_TO_TRANSFORM', `layers_to_transform: no targeted module is in layer ${layer}.`, { option, hint: 'Layers are counted from 0.' });
  });
}

function noLayer(paths: readonly string[], selection: ModuleSelection): GraftError {
  return new GraftError('LAYERS_TO_TRANSFORM', `layers_to_transform ${JSON.stringify(selection.layers_to_transform)} leaves none of the targeted modules: ${listed(paths)}.`, {
    option: ['layers_to_transform'],
    hint: 'Layers are counted from 0; layers_pattern names the list that the number stands after.',
  });
}

function noRegexTarget(written: string, paths: readonly string[]): GraftError {
  return new GraftError('TARGET_MODULES_NO_MATCH', `target_modules: as a regular expression for whole paths, "${written}" matches no linear layer of this model.`, {
    option: ['target_modules'],
    hint: paths.some((path) => isNamed(path, written)) ? `To name modules by their end, write a list: ["${written}"].` : `A path here is, say, ${paths[0] ?? 'lm_head'}.`,
  });
}

function noTarget(written: string, option: OptionPath, paths: readonly string[]): GraftError {
  return new GraftError(
    'TARGET_MODULES_NO_MATCH',
    `target_modules: "${written}" matches no linear layer of this model.${didYouMean(written, paths)}`,
    { option, hint: `Linear layers: ${candidates(paths).filter((name) => !name.includes('.')).join(', ')}; or a whole path, such as ${paths[0] ?? 'lm_head'}.` },
  );
}

function noExclusion(written: string, option: OptionPath, paths: readonly string[]): GraftError {
  return new GraftError('EXCLUDE_MODULES_NO_MATCH', `exclude_modules: "${written}" matches no linear layer of this model, so it excludes nothing.${didYouMean(written, paths)}`, { option });
}

/** Every name that a path may be called by, short ones first. */
function candidates(paths: readonly string[]): readonly string[] {
  const names = new Set(paths.map((path) => path.slice(path.lastIndexOf('.') + 1)));
  return [...names, ...paths.filter((path) => !names.has(path))];
}

function listed(paths: readonly string[]): string {
  const shown = paths.slice(0, 4).join(', ');
  return paths.length > 4 ? `${shown} and ${paths.length - 4} more` : shown;
}

/** A regular expression in Python's spelling that must match all of a string. */
function patternOf(source: string, option: OptionPath): RegExp {
  try {
    return new RegExp(`^(?:${source.replaceAll('(?P<', '(?<')})$`);
  } catch (cause) {
    throw new GraftError('MODULE_PATTERN', `${option[0]}: "${source}" is not a regular expression: ${cause instanceof Error ? cause.message : String(cause)}.`, { option, cause });
  }
}
