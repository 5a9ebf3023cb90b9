/** The tensors of a Llama by the names and shapes that its checkpoint gives them. */
import type { LlamaConfig } from './config.ts';

export const EMBEDDING = 'model.embed_tokens.weight';
export const FINAL_NORM = 'model.norm.weight';
export const LM_HEAD = 'lm_head.weight';

/** A linear layer within a decoder layer. */
export interface LinearShape {
  /** Such as `self_attn.q_proj`. */
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
}

export interface ParameterShape {
  readonly name: string;
  /** A matrix is `[out, in]`. */
  readonly shape: readonly number[];
}

/** Linear layers of one decoder layer, in the order in which transformers defines them. */
export function linearShapes(config: LlamaConfig): readonly LinearShape[] {
  const { hidden_size: hidden, intermediate_size: inner, attention_bias, mlp_bias } = config;
  const queries = config.num_attention_heads * config.head_dim;
  const keys = config.num_key_value_heads * config.head_dim;
  return [
    { name: 'self_attn.q_proj', inFeatures: hidden, outFeatures: queries, bias: attention_bias },
    { name: 'self_attn.k_proj', inFeatures: hidden, outFeatures: keys, bias: attention_bias },
    { name: 'self_attn.v_proj', inFeatures: hidden, outFeatures: keys, bias: attention_bias },
    { name: 'self_attn.o_proj', inFeatures: queries, outFeatures: hidden, bias: attention_bias },
    { name: 'mlp.gate_proj', inFeatures: hidden, outFeatures: inner, bias: mlp_bias },
    { name: 'mlp.up_proj', inFeatures: hidden, outFeatures: inner, bias: mlp_bias },
    { name: 'mlp.down_proj', inFeatures: inner, outFeatures: hidden, bias: mlp_bias },
  ];
}

/** Every tensor that a checkpoint of this config must hold; a tied output layer is the embedding and has none. */
export function parameterShapes(config: LlamaConfig): readonly ParameterShape[] {
  const { hidden_size: hidden, vocab_size: vocabulary } = config;
  const layer = (index: number): readonly ParameterShape[] => [
    ...linearShapes(config).flatMap(({ name, inFeatures, outFeatures, bias }) => [
      { name: `model.layers.${index}.${name}.weight`, shape: [outFeatures, inFeatures] },
      ...(bias ? [{ name: `model.layers.${index}.${name}.bias`, shape: [outFeatures] }] : []),
    ]),
    { name: `model.layers.${index}.input_layernorm.weight`, shape: [hidden] },
    { name: `model.layers.${index}.post_attention_layernorm.weight`, shape: [hidden] },
  ];
  return [
    { name: EMBEDDING, shape: [vocabulary, hidden] },
    ...Array.from({ length: config.num_hidden_layers }, (_, index) => layer(index)).flat(),
    { name: FINAL_NORM, shape: [hidden] },
    ...(config.tie_word_embeddings ? [] : [{ name: LM_HEAD, shape: [vocabulary, hidden] }]),
  ];
}
