import { Type, type Static } from 'graft';

/** Which of the base's own weights are trained. */
export const FullOptions = Type.Object(
  {
    parameters: Type.Union([Type.Literal('all'), Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })], {
      default: 'all',
      description: 'all, or names: whole names, suffixes (mlp.up_proj.weight), modules (model.norm), globs (model.layers.0.**) or /regular expressions/',
    }),
    exclude: Type.Array(Type.String({ minLength: 1 }), { default: [], description: 'the same kinds of names: not these' }),
  },
  { additionalProperties: false },
);

export type FullOptions = Static<typeof FullOptions>;
