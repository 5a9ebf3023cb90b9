/** One decoder layer: attention and a gated MLP, each on a normalised copy of the residual stream (Touvron et al. 2023). */
import { tf, type AttentionShape, type CachedAttention, type FusedOps, type Rotation } from 'graft';
import { linearShapes } from './architecture.ts';
import type { LlamaCache } from './cache.ts';
import { perStack, type Pass } from './pass.ts';
import type { LlamaConfig } from './config.ts';
import type { LlamaParameter } from './parameter.ts';
import { LlamaSite } from './site.ts';

/** What attention with caches needs of a pass. */
interface CachedPass {
  readonly caches: readonly LlamaCache[];
  readonly offsets: Int32Array;
  readonly own: boolean;
  readonly rotation: Rotation;
}

export type ParametersByName = ReadonlyMap<string, LlamaParameter>;

/** `y = x W^T + bias` as a site. */
export function linearSite(path: string, inFeatures: number, outFeatures: number, weight: LlamaParameter, bias: LlamaParameter | undefined, ops: FusedOps): LlamaSite {
  return new LlamaSite({ path, kind: 'linear', inFeatures, outFeatures, weight, bias }, ops);
}

/** Runs a linear site: x `[T, in]` -> `[T, out]`. */
export function runLinear(site: LlamaSite, x: tf.Tensor2D, pass: Pass, ops: FusedOps): tf.Tensor2D {
  const { bias } = site.shape;
  const weight = site.shape.weight!;
  const thawed = (stack: string) => weight.isThawedIn(stack) || bias?.isThawedIn(stack) === true;
  return site.run(x, pass, (input, rows, terms) => perStack(input, rows, thawed, (part, { stack }) => ops.linear(part, weight.matrix(stack), bias?.vector(stack), terms)));
}

/** `x / rms(x) * weight`, each row with its stack's weight: x `[T, d]`. */
export function runNorm(weight: LlamaParameter, x: tf.Tensor2D, pass: Pass, eps: number, ops: FusedOps): tf.Tensor2D {
  return perStack(x, pass, (stack) => weight.isThawedIn(stack), (rows, { stack }) => ops.rmsNorm(rows, weight.vector(stack), eps));
}

export class DecoderLayer {
  /** By name within the layer, such as `self_attn.q_proj`, in the order of transformers' definition. */
  readonly sites: ReadonlyMap<string, LlamaSite>;
  readonly #index: number;
  readonly #config: LlamaConfig;
  readonly #ops: FusedOps;
  readonly #cached: CachedAttention;
  readonly #norms: { readonly input: LlamaParameter; readonly postAttention: LlamaParameter };

  constructor(index: number, config: LlamaConfig, parameters: ParametersByName, ops: FusedOps, cached: CachedAttention) {
    const path = `model.layers.${index}`;
    const parameter = (name: string) => parameters.get(`${path}.${name}`)!;
    const hidden = config.hidden_size;
    const block = (name: string): [string, LlamaSite] => [name, new LlamaSite({ path: `${path}.${name}`, kind: 'block', inFeatures: hidden, outFeatures: hidden }, ops)];
    const linears = linearShapes(config).map(({ name, inFeatures, outFeatures, bias }): [string, LlamaSite] => [
      name,
      linearSite(`${path}.${name}`, inFeatures, outFeatures, parameter(`${name}.weight`), bias ? parameter(`${name}.bias`) : undefined, ops),
    ]);
    const within = (name: string) => linears.filter(([linear]) => linear.startsWith(`${name}.`));
    this.sites = new Map([block('self_attn'), ...within('self_attn'), block('mlp'), ...within('mlp')]);
    this.#index = index;
    this.#config = config;
    this.#ops = ops;
    this.#cached = cached;
    this.#norms = { input: parameter('input_layernorm.weight'), postAttention: parameter('post_attention_layernorm.weight') };
  }

  /** x `[T, d]` -> `[T, d]`; what it makes besides is freed. */
  run(x: tf.Tensor2D, pass: Pass): tf.Tensor2D {
    const { rms_norm_eps: eps } = this.#config;
    return tf.tidy(() => {
      const attended = this.#site('self_attn').run(runNorm(this.#norms.input, x, pass, eps, this.#ops), pass, (input, rows) => this.#attend(input, rows), x);
      const middle: tf.Tensor2D = tf.add(x, attended);
      const transformed = this.#site('mlp').run(runNorm(this.#norms.postAttention, middle, pass, eps, this.#ops), pass, (input, rows) => this.#transform(input, rows), middle);
      return tf.add(middle, transformed);
    });
  }

  /** Grouped-query attention with rotated queries and keys: `[T, d]` -> `[T, d]`. */
  #attend(x: tf.Tensor2D, pass: Pass): tf.Tensor2D {
    const { num_attention_heads: heads, num_key_value_heads: groups, head_dim: size, sliding_window: window } = this.#config;
    const [tokens] = x.shape;
    const q: tf.Tensor3D = tf.reshape(this.#linear('self_attn.q_proj', x, pass), [tokens, heads, size]);
    const k: tf.Tensor3D = tf.reshape(this.#linear('self_attn.k_proj', x, pass), [tokens, groups, size]);
    const v: tf.Tensor3D = tf.reshape(this.#linear('self_attn.v_proj', x, pass), [tokens, groups, size]);
    const shape = { scale: size ** -0.5, window };
    const { caches, offsets, own } = pass;
    const rotation = pass.rotation();
    const attended = caches === undefined ? this.#ops.attention(q, k, v, { ...shape, queryOffsets: offsets, keyOffsets: offsets, rotation }) : this.#attendCached(q, k, v, { caches, offsets, own, rotation }, shape);
    return this.#linear('self_attn.o_proj', tf.reshape(attended, [tokens, heads * size]), pass);
  }

  /** A cache holds keys that are turned already. */
  #attendCached(q: tf.Tensor3D, k: tf.Tensor3D, v: tf.Tensor3D, { caches, offsets, own, rotation }: CachedPass, shape: Pick<AttentionShape, 'scale' | 'window'>): tf.Tensor3D {
    const { cos, sin } = rotation;
    const stores = caches.map(({ store }) => store);
    const keep = caches.map((cache) => cache.takes(this.#index, own));
    return this.#cached.attend(this.#ops.rope(q, cos, sin), this.#ops.rope(k, cos, sin), v, { ...shape, layer: this.#index, offsets, stores, keep });
  }

  /** `W_down (silu(W_gate x) * W_up x)`: `[T, d]` -> `[T, d]` (Shazeer 2020). */
  #transform(x: tf.Tensor2D, pass: Pass): tf.Tensor2D {
    const gated = this.#ops.swiglu(this.#linear('mlp.gate_proj', x, pass), this.#linear('mlp.up_proj', x, pass));
    return this.#linear('mlp.down_proj', gated, pass);
  }

  #linear(name: string, x: tf.Tensor2D, pass: Pass): tf.Tensor2D {
    return runLinear(this.#site(name), x, pass, this.#ops);
  }

  #site(name: string): LlamaSite {
    return this.sites.get(name)!;
  }
}
