import type { TSchema } from 'typebox';
import type { Needs, PluginDefinition, ProviderDefinition, Stage, StageDefinition } from '../contracts/index.ts';

/**
 * Declares a plugin; the default export of its index.ts.
 *
 * The type of `call.config` follows from `config`, the types of `needs` from their tokens, and the hook that `setup`
 * must return from `stage`.
 *
 * @example
 * export default definePlugin({
 *   stage: 'inject',
 *   config: Type.Object({ r: Type.Integer({ minimum: 1, default: 8 }) }),
 *   setup: () => ({ inject: async ({ target, config }) => buildMyGraft(target, config.r) }),
 * });
 */
export function definePlugin<S extends Stage, C extends TSchema, const N extends Needs = {}>(definition: StageDefinition<S, C, N>): PluginDefinition;
export function definePlugin<T, C extends TSchema, const N extends Needs = {}>(definition: ProviderDefinition<T, C, N>): PluginDefinition;
export function definePlugin(definition: Omit<PluginDefinition, 'kind' | 'needs'> & { needs?: Needs }): PluginDefinition {
  return Object.freeze({ ...definition, kind: 'graft-plugin' as const, needs: definition.needs ?? {} });
}
