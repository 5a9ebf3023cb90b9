import type { PluginDefinition, PluginManifest, Stage } from '../contracts/index.ts';
import { GraftError } from './errors.ts';

/** What `setup` of a plugin of each stage must return: functions of these names. Others are optional. */
const stageToFunctions: Readonly<Record<Stage, readonly string[]>> = {
  load: ['load'],
  preprocess: ['preprocess'],
  inject: ['inject'],
  train: ['plan', 'train'],
  serve: ['serve'],
};

/** The five hooks, in the order in which a run calls them. */
export const STAGES: readonly Stage[] = ['load', 'preprocess', 'inject', 'train', 'serve'];

/**
 * Checks what a plugin's index exports against its manifest, before its setup runs.
 * @throws GraftError `PLUGIN_EXPORT`, `PLUGIN_MANIFEST_MISMATCH`
 */
export function checkDefinition(id: string, exported: unknown, manifest: PluginManifest): PluginDefinition {
  const definition = exported as PluginDefinition | null | undefined;
  if (typeof definition !== 'object' || definition === null || definition.kind !== 'graft-plugin') {
    throw new GraftError('PLUGIN_EXPORT', `${id}: the default export of its index is ${describe(exported)}; it must be what definePlugin returns.`);
  }
  if (typeof definition.setup !== 'function') throw new GraftError('PLUGIN_EXPORT', `${id}: its definition has no setup function.`);
  if (typeof definition.config !== 'object' || definition.config === null) throw new GraftError('PLUGIN_EXPORT', `${id}: its definition has no config schema; one without options is Type.Object({}).`);
  const declared = definition.provides === undefined ? `stage ${definition.stage}` : `token ${definition.provides.name}`;
  const manifested = manifest.provides === undefined ? `stage ${manifest.stage}` : `token ${manifest.provides}`;
  if (declared !== manifested) throw new GraftError('PLUGIN_MANIFEST_MISMATCH', `${id}: its definition is for ${declared}, and its manifest for ${manifested}.`);
  const unlisted = Object.values(definition.needs).find(({ name }) => !manifest.consumes.includes(name));
  if (unlisted !== undefined) throw new GraftError('PLUGIN_MANIFEST_MISMATCH', `${id}: it needs the token ${unlisted.name}, which "graft.consumes" in its package.json does not list.`);
  return definition;
}

/**
 * Checks what `setup` returned when it returns it, not when it is first called.
 * @throws GraftError `PLUGIN_SHAPE`
 */
export function checkHooks(id: string, value: unknown, manifest: PluginManifest): void {
  if (value === undefined || value === null) throw new GraftError('PLUGIN_SHAPE', `${id}: its setup returned ${describe(value)}; it must return ${expected(manifest)}.`);
  if (manifest.stage === undefined) return;
  const missing = stageToFunctions[manifest.stage].find((name) => typeof (value as Record<string, unknown>)[name] !== 'function');
  if (missing !== undefined) throw new GraftError('PLUGIN_SHAPE', `${id}: its setup returned ${describe(value)} whose ${missing} is not a function; it must return ${expected(manifest)}.`);
}

function expected({ stage, provides }: PluginManifest): string {
  return stage === undefined ? `the service ${provides}` : `an object with ${stageToFunctions[stage].map((name) => `${name}()`).join(' and ')}`;
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
