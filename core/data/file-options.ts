/** Options that every preprocess plugin has that reads files. */
import { Type } from 'typebox';

/** A path, a glob, or a list of them. */
export function pathsOption(description: string) {
  const path = Type.String({ graftPath: true, graftEnv: true, minLength: 1 });
  return Type.Union([path, Type.Array(path, { minItems: 1 })], { description });
}

export const fileOptions = {
  seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 4294967295, description: "Seed of the split and of shuffling. Default: the run's." })),
  on_bad_row: Type.Union([Type.Literal('stop'), Type.Literal('skip')], { default: 'stop', description: 'A row that cannot be used stops the run, or is left out, counted and reported.' }),
};
