import type { Ajv } from 'ajv';
import { Ajv2019 } from 'ajv/dist/2019.js';
import addFormats from 'ajv-formats';
import type { TSchema } from 'typebox';
import { GraftError } from './errors.ts';

const newAjv = (): Ajv => addFormats.default(new Ajv2019({ allErrors: true, useDefaults: true, coerceTypes: false, strict: false, addUsedSchema: false, validateSchema: false, code: { optimize: false } }));

/** One instance for the meta-schema, which takes a tenth of a second to compile; schemas of plugins are compiled each in an instance of its own, which goes with them. None is optimized: that takes longer than the few checks. */
const metaAjv = newAjv();

/** What keeps a schema from being one, in words. */
export const schemaMistake = (schema: TSchema): string | undefined => (metaAjv.validateSchema(schema) ? undefined : metaAjv.errorsText(metaAjv.errors, { dataVar: 'schema' }));

/**
 * Checks that a plugin's schema is one, and that every config in use is still good under it, defaults filled in. The
 * configs are not changed.
 * @throws GraftError `PLUGIN_SCHEMA_INVALID`, `PLUGIN_CONFIG_REFUSED`
 */
export function checkConfigs(id: string, schema: TSchema, configs: readonly unknown[]): void {
  const mistake = schemaMistake(schema);
  if (mistake !== undefined) throw new GraftError('PLUGIN_SCHEMA_INVALID', `${id}: its config schema is not a valid JSON schema: ${mistake}.`);
  if (configs.length === 0) return;
  const ajv = newAjv();
  const fits = ajv.compile(schema);
  for (const config of configs) {
    const unknown = unknownOption(schema, config);
    const why = fits(structuredClone(config)) ? unknown && `config has an option ${unknown}, which the schema no longer knows` : ajv.errorsText(fits.errors, { dataVar: 'config' });
    if (why !== undefined) throw new GraftError('PLUGIN_CONFIG_REFUSED', `${id}: a config that is in use does not fit its new schema: ${why}.`);
  }
}

/** Options are closed even where the author forgot `additionalProperties: false`, as they are in a config file. */
function unknownOption(schema: TSchema, config: unknown): string | undefined {
  const { properties, additionalProperties } = schema as { readonly properties?: object; readonly additionalProperties?: unknown };
  if (properties === undefined || additionalProperties !== undefined) return undefined;
  return Object.keys(Object(config)).find((key) => !Object.hasOwn(properties, key));
}
