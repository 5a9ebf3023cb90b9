import { Ajv2019 } from 'ajv/dist/2019.js';
import type { ErrorObject, ValidateFunction } from 'ajv/dist/2019.js';
import addFormats from 'ajv-formats';
import type { TSchema } from 'typebox';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { schemaMistake } from '../kernel/schema.ts';

type JsonSchema = Readonly<Record<string, unknown>>;

const schemaToCheck = new WeakMap<object, ValidateFunction>();

/**
 * Checks a value against a schema and fills in its defaults, in place.
 *
 * Mappings are closed: a key that the schema does not name is an error, even where its author forgot
 * `additionalProperties: false`. One that says `additionalProperties: true` means it, and is left open.
 * @returns every violation, none when the value is as it should be
 * @throws GraftError `PLUGIN_SCHEMA_INVALID` when the schema itself is not one
 */
export function violations(schema: TSchema, value: unknown): readonly ErrorObject[] {
  let check = schemaToCheck.get(schema);
  if (check === undefined) {
    check = compile(schema);
    schemaToCheck.set(schema, check);
  }
  return check(value) ? [] : [...(check.errors ?? [])];
}

function compile(schema: TSchema): ValidateFunction {
  const mistake = schemaMistake(schema);
  if (mistake !== undefined) throw new GraftError('PLUGIN_SCHEMA_INVALID', `its schema is not a valid JSON schema: ${mistake}`);
  const ajv = new Ajv2019({ allErrors: true, useDefaults: true, verbose: true, strict: false, strictNumbers: true, addUsedSchema: false, validateSchema: false, code: { optimize: false } });
  addFormats.default(ajv);
  try {
    return ajv.compile(closed(schema) as JsonSchema);
  } catch (error) {
    throw new GraftError('PLUGIN_SCHEMA_INVALID', `its schema is not a valid JSON schema: ${reasonOf(error)}`, { cause: error });
  }
}

/** A copy in which every mapping with named properties refuses others. */
function closed(schema: unknown, open = false): unknown {
  if (Array.isArray(schema)) return schema.map((each) => closed(each, open));
  if (typeof schema !== 'object' || schema === null) return schema;
  const copy: Record<string, unknown> = { ...schema };
  for (const keyword of ['properties', 'patternProperties', '$defs', 'definitions']) {
    const inner = copy[keyword];
    if (typeof inner === 'object' && inner !== null) copy[keyword] = Object.fromEntries(Object.entries(inner).map(([key, each]) => [key, closed(each)]));
  }
  for (const keyword of ['items', 'additionalProperties', 'anyOf', 'oneOf']) copy[keyword] = closed(copy[keyword]);
  // The members of an intersection must not refuse each other's properties: the whole of it does.
  copy['allOf'] = closed(copy['allOf'], true);
  const said = 'additionalProperties' in schema || 'unevaluatedProperties' in schema || 'patternProperties' in schema;
  if (!open && !said && 'allOf' in schema) copy['unevaluatedProperties'] = false;
  else if (!open && !said && 'properties' in schema) copy['additionalProperties'] = false;
  return Object.fromEntries(Object.entries(copy).filter(([, each]) => each !== undefined));
}
