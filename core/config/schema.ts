import { Type } from 'typebox';
import type { TSchema } from 'typebox';

const entry = (what: string): TSchema => Type.Unknown({ description: what });

/**
 * What a config may say beside the options of plugins. The entries of the stages are checked against the schemas of the
 * plugins that they name; `extends` and `sweep` are gone by the time that this is checked, and stand here to be known.
 */
export const runSchema = Type.Object({
  name: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._+=#-]*$', maxLength: 200, description: 'Name of the run and of its folder: letters, digits and `._+=#-`. Default: the name of the config file.' })),
  extends: Type.Optional(Type.Union([Type.String(), Type.Array(Type.String())], { description: 'A config, or a list of them, that this one is laid over. Mappings are merged key by key; lists and values are replaced; an entry whose `use` differs is replaced whole; an empty top-level key takes away what is below.' })),
  engine: Type.Object(
    {
      use: Type.String({ default: 'auto', description: 'What computes: `auto` takes the fastest that works here.' }),
      threads: Type.Union([Type.Literal('auto'), Type.Integer({ minimum: 1, maximum: 1024 })], { default: 'auto', description: 'Threads to compute with.' }),
    },
    { default: {}, description: 'An engine by name, or `{ use, threads }`.' },
  ),
  seed: Type.Integer({ minimum: 0, maximum: 4294967295, default: 42, description: 'Every random choice of the run follows from it.' }),
  plugins: Type.Array(Type.String({ graftPath: true, graftEnv: true }), { default: [], description: 'Folders to look for further plugins in.' }),
  runs_dir: Type.Optional(Type.String({ graftPath: true, graftEnv: true, description: 'Folder for run directories. Default: `runs` in the working directory.' })),
  load: entry('The plugin that loads the model and its tokenizer.'),
  preprocess: Type.Array(Type.Unknown(), { default: [], description: 'Plugins that make token sequences, each fed by the one before.' }),
  inject: Type.Array(Type.Unknown(), { default: [], description: 'Strategies grafted onto the model, in this order; several make a mixed strategy.' }),
  train: Type.Optional(entry('The plugin that trains.')),
  serve: Type.Array(Type.Unknown(), { default: [], description: 'Plugins that answer requests with the result.' }),
  queue: Type.Optional(Type.Literal('on-change', { description: "`on-change`: in a folder that the daemon watches (its `configs:`), whenever what the config says has changed it is queued as a new run, in a group of the config's name. Elsewhere it means nothing." })),
  sweep: Type.Optional(Type.Record(Type.String(), Type.Array(Type.Unknown()), { description: 'Dotted paths, each with a list of values: one run per combination.' })),
});
