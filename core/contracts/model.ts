/** The model as strategies, trainers and servers see it. */
import type { Tensor1D, Tensor2D, Variable } from '@tensorflow/tfjs-core';
import type { PackedBatch } from './data.ts';
import type { Disposer } from './plugin.ts';
import type { DropoutKey, Engine, LowRankTerm, Weight } from './engine.ts';

/** The checkpoint's config.json, in its own names, as far as every model of the family has them. */
export interface ModelConfig {
  readonly model_type: string;
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly tie_word_embeddings: boolean;
  readonly bos_token_id?: number;
  readonly eos_token_ids: readonly number[];
  /** The whole file, for what is not listed here. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** A named tensor of the checkpoint. */
export interface Parameter {
  /** Such as `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  /** A new f32 tensor with its values; the caller disposes it. */
  read(): Tensor1D | Tensor2D;
}

/** A parameter as an inject plugin sees it: it may be trained in the plugin's stack, or changed for good. */
export interface GraftableParameter extends Parameter {
  /**
   * From now on this stack computes with a trainable copy; the base is untouched.
   * @returns the variable, and how to go back to the base
   */
  thaw(): { readonly variable: Variable; restore(): void };
  /** Changes the base's values for good, in every stack: what `merge` ends with. The tensor is copied. */
  assign(values: Tensor1D | Tensor2D): void;
}

/** What a graft is told of the pass that it is part of. */
export interface SiteCall {
  /** The site's path. */
  readonly path: string;
  readonly training: boolean;
  /** `[N+1]` segments of the rows that the graft sees. */
  readonly offsets: Int32Array;
  /** For a block: the residual stream that its output is added to, `[T, d]`, not normalised. Undefined at a linear site. */
  readonly residual?: Tensor2D;
  /** The key of a dropout mask for this site in this pass; `salt` tells masks of one graft apart. */
  dropoutKey(salt: string): DropoutKey;
}

/** What stands below a graft: the site's own computation, or the graft listed before. Low-rank terms ride along in the base's own pass. */
export type SiteNext = (x: Tensor2D, terms?: readonly LowRankTerm[]) => Tensor2D;

/**
 * What a graft does at a site: x `[T, in]` -> `[T, out]`. Written in tfjs ops and `engine.ops`; gradients follow by
 * themselves. Must be pure in its tensors: no state, no disposal of x.
 */
export type SiteWrap = (x: Tensor2D, next: SiteNext, call: SiteCall) => Tensor2D;

export interface GraftOptions {
  /**
   * For a graft that does nothing at a linear site but add low-rank terms to what it hands its input on to: these terms, of the
   * site's own input. Texts with grafts of their own then go through the site in one product. Undefined where it does more, as
   * in training with dropout; then the wrap computes.
   */
  terms?(call: Pick<SiteCall, 'training'>): readonly LowRankTerm[] | undefined;
}

/**
 * A named place where a strategy can graft.
 *
 * `linear`: `model.layers.0.self_attn.q_proj`, x is the layer's input and next(x) its output.
 * `block`: `model.layers.0.self_attn` and `model.layers.0.mlp`, x is the normalised input of the sub-block and next(x)
 * what it adds to the residual stream. `lm_head` is a linear site. `next` at a block takes no low-rank terms.
 */
export interface Site {
  readonly path: string;
  readonly kind: 'linear' | 'block';
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** A linear site's own parameters. */
  readonly weight?: GraftableParameter;
  readonly bias?: GraftableParameter;
  /** Wraps what the site computes in this stack; several nest in the order added, the last outermost. */
  graft(wrap: SiteWrap, options?: GraftOptions): Disposer;
}

/** The model bound to one stack, as an inject plugin sees it. */
export interface GraftTarget {
  readonly stack: string;
  readonly engine: Engine;
  readonly config: ModelConfig;
  /** The checkpoint that the model was loaded from, as the config named it: `base_model_name_or_path`. */
  readonly baseModel: string;
  /** By path, in the order of the model's own definition. */
  readonly sites: ReadonlyMap<string, Site>;
  readonly parameters: ReadonlyMap<string, GraftableParameter>;
}

/** Keys and values of one sequence's tokens so far. */
export interface KVCache {
  /** Tokens held. */
  readonly length: number;
  /** Bytes that so many tokens more take. */
  bytesFor(tokens: number): number;
  /**
   * Another cache with the first `tokens` of this one, for a text that begins alike; an engine may share what both hold.
   * @throws GraftError `CACHE_FORK` where this one holds fewer
   */
  fork(tokens: number): KVCache;
  dispose(): void;
}

export interface ForwardOptions {
  /** The stack of every segment, or one per segment (`undefined`: the base alone). Segments of one stack need not be neighbours. */
  readonly stack?: string | readonly (string | undefined)[];
  /** Given while training: switches dropout on, and names its masks. */
  readonly training?: { readonly seed: number; readonly step: number };
  /** `block`: what a decoder layer computes is computed again in the backward, in place of kept; the numbers are the same. */
  readonly recompute?: 'none' | 'block';
  /** One per segment; each is extended by the segment's tokens. */
  readonly caches?: readonly KVCache[];
}

/** A causal language model. Forward passes inside `valueAndGrads` are differentiable in the trainables of their stack. */
export interface CausalLM {
  readonly config: ModelConfig;
  readonly engine: Engine;
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly sitePaths: readonly string[];
  /** Builds a stack to graft into; an existing name is the same stack. */
  target(stack: string): GraftTarget;
  /** The last hidden states after the final norm, `[T, d]`. */
  forward(batch: PackedBatch, options?: ForwardOptions): Tensor2D;
  /** Logits of chosen rows of `hidden`, `[rows, V]`; all rows when left out. */
  logits(hidden: Tensor2D, options?: ForwardOptions & { readonly rows?: Int32Array; readonly offsets?: Int32Array }): Tensor2D;
  /** Loss of each token's prediction of the next, `[T]` in nats: 0 where the next token has no label. Labels are shifted here. */
  loss(batch: PackedBatch, options?: ForwardOptions): Tensor1D;
  createCache(): KVCache;
  /** Bytes that the caches of this model hold together; what several share counts once. */
  readonly cacheBytes: number;
  /** Writes a Hugging Face folder with the parameters as they are now (after `merge`): config, weights (sharded), tokenizer. */
  save(dir: string, options?: { readonly maxShardBytes?: number }): Promise<readonly string[]>;
  dispose(): void;
}

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly [extra: string]: unknown;
}

/** Text to tokens and back, as the checkpoint's tokenizer.json says. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosTokenId?: number;
  /** Every token that ends a generation. */
  readonly eosTokenIds: readonly number[];
  /** The token as it is written in a template, such as `</s>`. */
  readonly eosToken?: string;
  readonly bosToken?: string;
  /** Whether the checkpoint brings a chat template. */
  readonly hasChatTemplate: boolean;
  /** sha256 of all that shapes its output, for cache keys. */
  readonly fingerprint: string;
  /** @param options.addSpecialTokens default true: what tokenizer.json's post-processor adds, such as BOS */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Int32Array;
  /** @param options.skipSpecialTokens default true */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** The piece of one token, for display. */
  token(id: number): string;
  /**
   * Renders messages with the model's own template.
   * @throws GraftError `NO_CHAT_TEMPLATE` where the checkpoint has none, `CHAT_TEMPLATE` where it refuses the messages
   */
  applyChatTemplate(messages: readonly ChatMessage[], options?: { readonly addGenerationPrompt?: boolean }): string;
}

export interface LoadedModel {
  readonly model: CausalLM;
  readonly tokenizer: Tokenizer;
}

/** A checkpoint without its weights. */
export interface LoadedTokenizer {
  readonly tokenizer: Tokenizer;
  readonly config: ModelConfig;
}

export type { Weight };
