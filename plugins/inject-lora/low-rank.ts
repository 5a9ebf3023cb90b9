import { initialized, kaimingUniform, normal, patternValue, rng, tf, zeros, type Engine, type GraftOptions, type Initializer, type LowRankTerm, type Rng, type Site, type SiteWrap } from 'graft';
import type { LoraOptions } from './options.ts';

/** The update of one linear layer: `y = W x + scale B A dropout(x)`, A `[r, in]`, B `[out, r]` (Hu et al. 2021, arXiv:2106.09685). */
export interface LowRankUpdate {
  readonly site: Site;
  readonly a: tf.Variable;
  readonly b: tf.Variable;
  readonly scale: number;
}

/** Makes the trainable matrices of one site; the caller disposes them. */
export function lowRankUpdate(site: Site, options: LoraOptions, seed: number): LowRankUpdate {
  const r = patternValue(options.rank_pattern, site.path, options.r, 'rank_pattern');
  const alpha = patternValue(options.alpha_pattern, site.path, options.lora_alpha, 'alpha_pattern');
  const { forA, forB } = initializers(options.init_lora_weights, site.inFeatures, r);
  const stream = (matrix: string): Rng => rng(seed, 'lora', site.path, matrix);
  return {
    site,
    a: initialized([r, site.inFeatures], forA, stream('A')),
    b: initialized([site.outFeatures, r], forB, stream('B')),
    scale: options.use_rslora ? alpha / Math.sqrt(r) : alpha / r,
  };
}

/** PEFT's `reset_lora_parameters`. */
function initializers(init: LoraOptions['init_lora_weights'], inFeatures: number, r: number): { readonly forA: Initializer; readonly forB: Initializer } {
  if (init === 'gaussian') return { forA: normal(1 / r), forB: zeros };
  return { forA: kaimingUniform(inFeatures), forB: init ? zeros : kaimingUniform(r) };
}

/**
 * The base computes `W x` and the update in one pass: an engine may fuse the two.
 * @param salt tells the masks of two LoRAs on one layer apart
 */
export function updateWrap({ a, b, scale }: LowRankUpdate, dropout: number, salt: string, engine: Engine): SiteWrap {
  return (x, next, call) => {
    const input = dropout > 0 && call.training ? engine.ops.dropout(x, dropout, call.dropoutKey(salt)) : undefined;
    return next(x, [{ input, a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale }]);
  };
}

/** What the wrap adds, where no dropout is between. */
export function updateTerms({ a, b, scale }: LowRankUpdate, dropout: number): GraftOptions {
  const terms: readonly LowRankTerm[] = [{ a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale }];
  return { terms: ({ training }) => (training && dropout > 0 ? undefined : terms) };
}

/** Adds `scale B A` to the layer's own weight, for good. */
export function mergeUpdate({ site, a, b, scale }: LowRankUpdate): void {
  const { weight } = site;
  if (weight === undefined) throw new Error(`${site.path} has no weight`);
  tf.tidy(() => {
    const delta = tf.mul(tf.matMul(b as tf.Tensor2D, a as tf.Tensor2D), scale);
    weight.assign(tf.add(weight.read(), delta));
  });
}
