import { Type, type Static } from 'graft';

export const LlamaOptions = Type.Object(
  {
    model: Type.String({ minLength: 1, description: 'folder of a checkpoint in Hugging Face format, relative to this file, or the id of a model on the Hugging Face Hub' }),
    revision: Type.String({ minLength: 1, default: 'main', description: 'branch, tag or commit, of a model on the Hub' }),
    dtype: Type.Union([Type.Literal('auto'), Type.Literal('f32'), Type.Literal('f16'), Type.Literal('bf16'), Type.Literal('int8'), Type.Literal('nf4')], {
      default: 'auto',
      description: 'how the frozen weights are kept, as far as the engine can; auto: as the checkpoint stores them',
    }),
    low_memory: Type.Boolean({ default: false, description: 'leave the frozen weights in their files and read them as they are used: slower, in little memory; dtype must be auto or what the checkpoint stores' }),
    init: Type.Optional(Type.Literal('random', { description: "new weights drawn from the run's seed, of the sizes in config.json: to train a model from nothing; the folder needs no weights" })),
    chat_template: Type.Optional(Type.String({ minLength: 1, description: "name of one of the tokenizer's chat templates where it has several, or a template (Jinja) in place of the tokenizer's own" })),
  },
  { additionalProperties: false },
);

export type LlamaOptions = Static<typeof LlamaOptions>;
