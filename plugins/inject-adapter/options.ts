import { Type, type Static } from 'graft';
import { ACTIVATIONS } from './activation.ts';

export const PRESETS = ['houlsby', 'pfeiffer', 'parallel', 'double_seq_bn', 'seq_bn', 'par_bn', 'scaled_par_bn'] as const;
const oneOf = <const T extends readonly string[]>(values: T, description: string) => Type.Unsafe<T[number]>({ type: 'string', enum: [...values], description });

/** AdapterHub's `BnConfig`, in its names, with two shorter ways to say it: `preset` and `placement`. */
export const AdapterOptions = Type.Object(
  {
    preset: Type.Optional(oneOf(PRESETS, 'a published design, to start from: houlsby (double_seq_bn), pfeiffer (seq_bn), parallel (par_bn), scaled_par_bn')),
    placement: Type.Optional(oneOf(['attention', 'mlp', 'both', 'parallel'], 'after the attention block, after the MLP, after both, or beside the MLP')),
    adapter_size: Type.Optional(Type.Integer({ minimum: 1, description: 'width of the bottleneck; 64 where neither it, reduction_factor nor a preset says' })),
    reduction_factor: Type.Optional(
      Type.Union([Type.Number({ exclusiveMinimum: 0 }), Type.Record(Type.String(), Type.Number({ exclusiveMinimum: 0 }))], {
        description: 'hidden size / width of the bottleneck; or a factor per layer: {"0": 8, "default": 16}',
      }),
    ),
    non_linearity: Type.Optional(oneOf(Object.keys(ACTIVATIONS), 'between down and up; default relu')),
    mh_adapter: Type.Optional(Type.Boolean({ description: 'after the attention block' })),
    output_adapter: Type.Optional(Type.Boolean({ description: 'after the MLP' })),
    is_parallel: Type.Optional(Type.Boolean({ description: 'beside the block, reading the residual stream, instead of after it' })),
    original_ln_before: Type.Optional(Type.Boolean({ description: "add the residual stream to the adapter's input" })),
    original_ln_after: Type.Optional(Type.Boolean({ description: "add the residual stream to the adapter's output; default true" })),
    residual_before_ln: Type.Optional(Type.Boolean({ description: "the adapter's own skip connection starts before the residual stream is added; default true" })),
    adapter_residual_before_ln: Type.Optional(Type.Boolean({ description: 'the skip connection ends before ln_after instead of after it' })),
    ln_before: Type.Optional(Type.Boolean({ description: 'a new layer norm before the bottleneck' })),
    ln_after: Type.Optional(Type.Boolean({ description: 'a new layer norm after the bottleneck' })),
    scaling: Type.Optional(
      Type.Union([Type.Number(), Type.Literal('learned'), Type.Literal('channel')], { description: 'factor on the bottleneck: a number, a learned scalar, or a learned vector; default 1' }),
    ),
    dropout: Type.Optional(Type.Number({ minimum: 0, exclusiveMaximum: 1, description: 'on the bottleneck, while training; default 0' })),
    use_gating: Type.Optional(Type.Boolean({ description: 'a learned gate in 0..1, averaged over the sequence' })),
    init_weights: Type.Optional(oneOf(['bert', 'mam_adapter', 'houlsby'], 'bert: normal 0.02; mam_adapter: kaiming down, zero up; houlsby: truncated normal 0.01')),
    leave_out: Type.Optional(Type.Array(Type.Integer({ minimum: 0 }), { description: 'layers without an adapter, from 0' })),
    name: Type.String({ default: 'graft', pattern: '^[A-Za-z0-9_-]+$', description: "the adapter's name in AdapterHub's files" }),
  },
  { additionalProperties: false },
);

export type AdapterOptions = Static<typeof AdapterOptions>;
