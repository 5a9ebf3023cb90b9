import {
  initialized,
  kaimingUniform,
  normal,
  ones,
  rng,
  tf,
  truncatedNormal,
  zeros,
  type FusedOps,
  type Initializer,
  type SiteCall,
  type SiteWrap,
} from 'graft';
import { ACTIVATIONS } from './activation.ts';
import type { Design } from './design.ts';

type LayerNorm = { readonly weight: tf.Variable; readonly bias: tf.Variable };

/** The trainable tensors of one adapter: d the hidden size, m the bottleneck. */
export interface Bottleneck {
  /** `[m, d]` and `[m]` */
  readonly down: { readonly weight: tf.Variable; readonly bias: tf.Variable };
  /** `[d, m]` and `[d]` */
  readonly up: { readonly weight: tf.Variable; readonly bias: tf.Variable };
  /** `[1]` where scaling is `learned`, `[d]` where it is `channel`. */
  readonly scaling?: tf.Variable;
  /** `[1, d]` and `[1]` */
  readonly gate?: { readonly weight: tf.Variable; readonly bias: tf.Variable };
  /** `[d]` each */
  readonly normBefore?: LayerNorm;
  readonly normAfter?: LayerNorm;
}

/** PyTorch's default. */
const LAYER_NORM_EPS = 1e-5;

const DOWN: Readonly<Record<Design['init_weights'], (fanIn: number) => Initializer>> = {
  bert: () => normal(0.02),
  mam_adapter: kaimingUniform,
  houlsby: () => truncatedNormal(0.01),
};
const UP: Readonly<Record<Design['init_weights'], Initializer>> = { bert: normal(0.02), mam_adapter: zeros, houlsby: truncatedNormal(0.01) };

/** Makes the tensors of one adapter as `init_weights` says; the caller disposes them. */
export function createBottleneck(d: number, m: number, design: Design, seed: number, path: string): Bottleneck {
  const tensor = (name: string, shape: readonly number[], initializer: Initializer): tf.Variable => initialized(shape, initializer, rng(seed, 'adapter', path, name));
  const norm = (name: string): LayerNorm => ({ weight: tensor(`${name}.weight`, [d], ones), bias: tensor(`${name}.bias`, [d], zeros) });
  return {
    down: { weight: tensor('down.weight', [m, d], DOWN[design.init_weights](d)), bias: tensor('down.bias', [m], zeros) },
    up: { weight: tensor('up.weight', [d, m], UP[design.init_weights]), bias: tensor('up.bias', [d], zeros) },
    ...(typeof design.scaling === 'number' ? {} : { scaling: tensor('scaling', [design.scaling === 'learned' ? 1 : d], ones) }),
    ...(design.use_gating ? { gate: { weight: tensor('gate.weight', [1, d], normal(0.02)), bias: tensor('gate.bias', [1], zeros) } } : {}),
    ...(design.ln_before ? { normBefore: norm('ln_before') } : {}),
    ...(design.ln_after ? { normAfter: norm('ln_after') } : {}),
  };
}

/**
 * What an adapter does to a block: h the block's output, x the residual stream, both `[T, d]`.
 *
 *   sequential:  in = h (+ x: original_ln_before),  out = f(in) + skip,  skip = h or in (residual_before_ln)
 *   parallel:    in = x,                            out = h + f(x)
 *   f(in) = dropout(scaling * (W_up act(W_down in + b_down) + b_up)), gated and normalised where the design says
 *
 * AdapterHub returns out (+ x: original_ln_after); a site returns what is added to x, so x is taken off once.
 *
 * @param salt tells the dropout masks of two adapters on one block apart
 */
export function bottleneckWrap(tensors: Bottleneck, design: Design, salt: string, ops: FusedOps): SiteWrap {
  return (input, next, call): tf.Tensor2D => {
    const h = next(input);
    const x = call.residual;
    if (x === undefined) throw new Error(`${call.path} is not a block: it has no residual stream`);
    if (design.is_parallel) {
      const beside = transform(x, tensors, design, salt, ops, call);
      const out: tf.Tensor2D = tf.add(h, tensors.normAfter === undefined ? beside : layerNorm(beside, tensors.normAfter));
      return design.original_ln_after ? out : tf.sub(out, x);
    }
    const entering: tf.Tensor2D = design.original_ln_before ? tf.add(h, x) : h;
    const skip = design.residual_before_ln ? h : entering;
    const change = transform(entering, tensors, design, salt, ops, call);
    if (tensors.normAfter !== undefined) {
      const out: tf.Tensor2D = design.adapter_residual_before_ln ? layerNorm(tf.add(change, skip), tensors.normAfter) : tf.add(layerNorm(change, tensors.normAfter), skip);
      return design.original_ln_after ? out : tf.sub(out, x);
    }
    // Counted instead of added and taken off again, which would lose bits of h.
    const streams = (skip === entering && design.original_ln_before ? 1 : 0) + (design.original_ln_after ? 1 : 0) - 1;
    const out: tf.Tensor2D = tf.add(change, h);
    return streams === 0 ? out : streams > 0 ? tf.add(out, x) : tf.sub(out, x);
  };
}

function transform(entering: tf.Tensor2D, tensors: Bottleneck, design: Design, salt: string, ops: FusedOps, call: SiteCall): tf.Tensor2D {
  const activation = ACTIVATIONS[design.non_linearity]!;
  const from = tensors.normBefore === undefined ? entering : layerNorm(entering, tensors.normBefore);
  const down = ops.linear(from, tensors.down.weight as tf.Tensor2D, tensors.down.bias as tf.Tensor1D);
  const up = ops.linear(activation(down), tensors.up.weight as tf.Tensor2D, tensors.up.bias as tf.Tensor1D);
  const factor = tensors.scaling ?? design.scaling;
  const scaled: tf.Tensor2D = factor === 1 ? up : tf.mul(up, factor as tf.Variable | number);
  const dropped = call.training && design.dropout > 0 ? ops.dropout(scaled, design.dropout, call.dropoutKey(salt)) : scaled;
  return tensors.gate === undefined ? dropped : tf.mul(dropped, gateOf(entering, tensors.gate, ops, call.offsets));
}

/** The mean over each segment of sigmoid(gate(in)), for each of its tokens: `[T, 1]` (Mao et al. 2022, arXiv:2110.07577). */
function gateOf(entering: tf.Tensor2D, gate: NonNullable<Bottleneck['gate']>, ops: FusedOps, offsets: Int32Array): tf.Tensor2D {
  const perToken = tf.sigmoid(ops.linear(entering, gate.weight as tf.Tensor2D, gate.bias as tf.Tensor1D));
  const tokens = entering.shape[0];
  const segments = offsets.length - 1;
  const member = new Float32Array(segments * tokens);
  const share = new Float32Array(segments * tokens);
  for (let segment = 0; segment < segments; segment++) {
    const [start, end] = [offsets[segment]!, offsets[segment + 1]!];
    member.fill(1, segment * tokens + start, segment * tokens + end);
    share.fill(1 / (end - start), segment * tokens + start, segment * tokens + end);
  }
  const means = tf.matMul(tf.tensor2d(share, [segments, tokens]), perToken);
  return tf.matMul(tf.tensor2d(member, [segments, tokens]), means, true) as tf.Tensor2D;
}

/** `(x - mean) / sqrt(variance + eps) * weight + bias` over the last axis (Ba et al. 2016). */
function layerNorm(x: tf.Tensor2D, { weight, bias }: LayerNorm): tf.Tensor2D {
  const centred = tf.sub(x, tf.mean(x, 1, true));
  const variance = tf.mean(tf.square(centred), 1, true);
  return tf.add(tf.mul(tf.div(centred, tf.sqrt(tf.add(variance, LAYER_NORM_EPS))), weight), bias);
}
