import type { PluginDefinition, PluginManifest, Stage } from '../contracts/index.ts';
import { GraftError } from './errors.ts';

/** What `setup` of a plugin of each stage must return: functions of these names. Others are optional. */
const stageToFunctions: Readonly<Record<Stage, readonly string[]>> = { load: ['load'], preprocess: ['preprocess'], inject: ['inject'], train: ['plan', 'train'], serve: ['serve'] };

/** The five hooks, in the order in which a run calls them. */
export const STAGES = Object.keys(stageToFunctions) as readonly Stage[];

/**
 * Checks what a plugin's index exports against its manifest, before its setup runs.
 * @throws GraftError `PLUGIN_EXPORT`, `PLUGIN_MANIFEST_MISMATCH`
 */
export function checkDefinition(id: string, exported: unknown, manifest: PluginManifest): PluginDefinition {
  const demand = (met: unknown, code: string, otherwise: string): void => {
    if (!met) throw new GraftError(code, `${id}: ${otherwise}`);
  };
  const definition = exported as PluginDefinition;
  demand((exported as PluginDefinition | null | undefined)?.kind === 'graft-plugin', 'PLUGIN_EXPORT', `the default export of its index is ${describe(exported)}; it must be what definePlugin returns.`);
  demand(typeof definition.setup === 'function', 'PLUGIN_EXPORT', 'its definition has no setup function.');
  demand(typeof definition.config === 'object' && definition.config, 'PLUGIN_EXPORT', 'its definition has no config schema; one without options is Type.Object({}).');
  const declared = definition.provides === undefined ? `stage ${definition.stage}` : `token ${definition.provides.name}`;
  const manifested = manifest.provides === undefined ? `stage ${manifest.stage}` : `token ${manifest.provides}`;
  demand(declared === manifested, 'PLUGIN_MANIFEST_MISMATCH', `its definition is for ${declared}, and its manifest for ${manifested}.`);
  const unlisted = Object.values(definition.needs).find(({ name }) => !manifest.consumes.includes(name));
  demand(unlisted === undefined, 'PLUGIN_MANIFEST_MISMATCH', `it needs the token ${unlisted?.name}, which "graft.consumes" in its package.json does not list.`);
  return definition;
}

/**
 * Checks what `setup` returned when it returns it, not when it is first called.
 * @throws GraftError `PLUGIN_SHAPE`
 */
export function checkHooks(id: string, value: unknown, manifest: PluginManifest): void {
  const functions = manifest.stage === undefined ? [] : stageToFunctions[manifest.stage];
  const missing = functions.find((name) => typeof (value as Record<string, unknown> | null | undefined)?.[name] !== 'function');
  if (missing === undefined && value !== undefined && value !== null) return;
  const expected = manifest.stage === undefined ? `the service ${manifest.provides}` : `an object with ${functions.map((name) => `${name}()`).join(' and ')}`;
  const fault = value === undefined || value === null ? '' : ` whose ${missing} is not a function`;
  throw new GraftError('PLUGIN_SHAPE', `${id}: its setup returned ${describe(value)}${fault}; it must return ${expected}.`);
}

function describe(value: unknown): string {
  return value === null || value === undefined ? String(value) : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
