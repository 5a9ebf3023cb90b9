import { Type, type TSchema } from 'typebox';
import type { Stage } from '../contracts/index.ts';

/** The keyword by which a schema hands a mapping over to the schema of another plugin: `inject:lora`. */
const KEYWORD = 'graftOptionsOf';

/** Options that belong to another plugin: part of a composed plugin's schema, checked against that plugin's own. */
export interface ComposedOptions {
  readonly key: string;
  readonly stage: Stage;
  readonly name: string;
}

/**
 * The schema of a mapping of another plugin's options, for a plugin that composes it.
 * @example Type.Object({ lora: optionsOf('inject', 'lora') })
 */
export function optionsOf(stage: Stage, name: string) {
  return Type.Record(Type.String(), Type.Unknown(), { default: {}, description: `options of the ${stage} plugin ${name}, in its own names`, [KEYWORD]: `${stage}:${name}` });
}

/** Which of a schema's keys belong to other plugins. */
export function composedOptions(schema: TSchema): readonly ComposedOptions[] {
  const properties = ((schema as { properties?: unknown }).properties ?? {}) as Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  return Object.entries(properties).flatMap(([key, property]) => {
    const owner = property[KEYWORD];
    if (typeof owner !== 'string') return [];
    const [stage, name] = owner.split(':') as [Stage, string];
    return [{ key, stage, name }];
  });
}
