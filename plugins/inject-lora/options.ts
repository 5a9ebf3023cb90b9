import { Type, type Static } from 'graft';

const names = (description: string) => Type.Union([Type.Array(Type.String({ minLength: 1 })), Type.String({ minLength: 1 })], { description });

/** PEFT's `LoraConfig`, in its names and with its defaults, as far as this plugin computes it. */
export const LoraOptions = Type.Object(
  {
    r: Type.Integer({ minimum: 1, default: 8, description: 'rank of the update B A' }),
    lora_alpha: Type.Number({ exclusiveMinimum: 0, default: 8, description: 'the update is scaled by lora_alpha / r' }),
    lora_dropout: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: 0, description: 'dropout on the input of A while training' }),
    target_modules: Type.Union([Type.Array(Type.String({ minLength: 1 }), { minItems: 1 }), Type.String({ minLength: 1 })], {
      default: ['q_proj', 'v_proj'],
      description: 'names or path suffixes, one regular expression for whole paths, or all-linear (every linear layer but lm_head)',
    }),
    exclude_modules: Type.Optional(names('names, suffixes or a regular expression: not these, though targeted')),
    layers_to_transform: Type.Optional(Type.Union([Type.Array(Type.Integer({ minimum: 0 })), Type.Integer({ minimum: 0 })], { description: 'only these layers, from 0' })),
    layers_pattern: Type.Optional(names('name of the list of layers in a path, such as layers')),
    rank_pattern: Type.Record(Type.String(), Type.Integer({ minimum: 1 }), { default: {}, description: 'another r for modules whose path ends in a pattern' }),
    alpha_pattern: Type.Record(Type.String(), Type.Number({ exclusiveMinimum: 0 }), { default: {}, description: 'another lora_alpha for modules whose path ends in a pattern' }),
    use_rslora: Type.Boolean({ default: false, description: 'scale by lora_alpha / sqrt(r) (Kalajdzievski 2023)' }),
    bias: Type.Union([Type.Literal('none'), Type.Literal('all'), Type.Literal('lora_only')], { default: 'none', description: "which of the base's biases are trained" }),
    modules_to_save: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { description: 'modules trained in full and saved whole, such as embed_tokens, lm_head, norm' })),
    ensure_weight_tying: Type.Boolean({ default: false, description: 'where the base ties its input embedding and lm_head, modules_to_save trains both as one' }),
    init_lora_weights: Type.Union([Type.Boolean(), Type.Literal('gaussian')], {
      default: true,
      description: 'true: A kaiming-uniform, B zero; gaussian: A normal with deviation 1 / r, B zero; false: both random',
    }),
  },
  { additionalProperties: false },
);

export type LoraOptions = Static<typeof LoraOptions>;
