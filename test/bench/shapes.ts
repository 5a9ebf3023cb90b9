/** The model shapes of the training benchmark: those of the peer's script. */

export interface Shape {
  readonly hidden: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly groups: number;
  readonly vocabulary: number;
  readonly tied: boolean;
}

export const SHAPES: Readonly<Record<string, Shape>> = {
  '15m': { hidden: 288, inner: 768, layers: 6, heads: 6, groups: 6, vocabulary: 32_000, tied: true },
  '135m': { hidden: 576, inner: 1536, layers: 30, heads: 9, groups: 3, vocabulary: 49_152, tied: true },
  '1b': { hidden: 2048, inner: 5632, layers: 22, heads: 32, groups: 4, vocabulary: 32_000, tied: false },
};

/** A config.json of this shape. */
export function configOf({ hidden, inner, layers, heads, groups, vocabulary, tied }: Shape, torchDtype = 'float32'): Record<string, unknown> {
  return {
    ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu', hidden_size: hidden, intermediate_size: inner, num_hidden_layers: layers },
    ...{ num_attention_heads: heads, num_key_value_heads: groups, vocab_size: vocabulary, tie_word_embeddings: tied, torch_dtype: torchDtype },
    ...{ max_position_embeddings: 2048, rms_norm_eps: 1e-6, bos_token_id: 1, eos_token_id: 2 },
  };
}

/**
 * Floating-point operations to train LoRA of rank r on all seven projections, for one token of an example of S tokens:
 * `4 N_lin + 6 N_lora + 7 S d_attn L`. The base is passed forward and back (2 + 2), the low-rank matrices have a gradient too, and
 * attention sees half of its S x S scores, twice forward and five times back.
 */
export function flopsPerToken({ hidden, inner, layers, heads, groups, vocabulary }: Shape, length: number, r = 8): number {
  const keys = (hidden / heads) * groups;
  const pairs: readonly (readonly [number, number])[] = [[hidden, hidden], [hidden, keys], [hidden, keys], [hidden, hidden], [hidden, inner], [hidden, inner], [inner, hidden]];
  const linear = layers * pairs.reduce((sum, [from, to]) => sum + from * to, 0) + vocabulary * hidden;
  const lora = layers * pairs.reduce((sum, [from, to]) => sum + r * (from + to), 0);
  return 4 * linear + 6 * lora + 7 * length * hidden * layers;
}
