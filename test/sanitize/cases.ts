/** Random calls of the fused operations, one maker for each name in FusedOps. */
import { tf, type FusedOps, type FrozenWeight, type LowRankTerm, type Rng, type Weight, type WeightDtype } from '../../core/index.ts';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';

export interface Input {
  readonly shape: readonly number[];
  readonly values: Float32Array;
  /** Whether its gradient is asked for. */
  readonly trained: boolean;
}

export interface FrozenInput {
  readonly shape: readonly [number, number];
  readonly values: Float32Array;
  readonly dtype: WeightDtype;
}

/** What a call is given on the engine at hand. */
export interface Given {
  readonly ops: FusedOps;
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly frozen: FrozenWeight | Tensor2D | undefined;
}

export interface Call {
  readonly label: string;
  readonly inputs: Readonly<Record<string, Input>>;
  readonly frozen?: FrozenInput;
  /** Largest difference, as a part of the largest value (or of 1). */
  readonly tolerance: number;
  apply(given: Given): Tensor;
}

/** What frozen weights may be kept in. */
type Formats = readonly WeightDtype[];

const ODD_SIZES = [1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 47, 48, 49, 63, 65, 97, 130, 257];

export const size = (random: Rng, most = Infinity): number => {
  const fitting = ODD_SIZES.filter((n) => n <= most);
  return fitting[random.integer(fitting.length)]!;
};
export const chance = (random: Rng, of: number): boolean => random.integer(of) === 0;

export function input(random: Rng, shape: readonly number[], { trained = !chance(random, 3), scale = 1 } = {}): Input {
  return { shape, trained, values: Float32Array.from({ length: tf.util.sizeFromShape([...shape]) }, () => random.normal() * scale) };
}

/** A matrix [rows, columns] that is frozen in a random format, or a tensor under the name `weight`. */
function matrix(random: Rng, formats: Formats, rows: number, columns: number): { readonly inputs: Record<string, Input>; readonly frozen?: FrozenInput } {
  if (chance(random, 3)) return { inputs: { weight: input(random, [rows, columns]) } };
  return { inputs: {}, frozen: { shape: [rows, columns], values: input(random, [rows, columns]).values, dtype: formats[random.integer(formats.length)]! } };
}

const weightOf = ({ tensors, frozen }: Given): Weight => frozen ?? (tensors['weight'] as Tensor2D);
/** Products with what is kept in 16 bits or fewer round the other side to bf16 on some processors. */
const tolerance = (frozen: FrozenInput | undefined): number => (frozen === undefined || frozen.dtype === 'f32' ? 2e-4 : 4e-2);

/** Cuts of [0, length]. */
function offsets(random: Rng, length: number): Int32Array {
  const cuts = [0];
  while (cuts[cuts.length - 1]! < length) cuts.push(Math.min(length, cuts[cuts.length - 1]! + 1 + random.integer(chance(random, 3) ? 3 : 80)));
  return Int32Array.from(cuts);
}

const linear = (random: Rng, formats: Formats): Call => {
  const [rows, from, to] = [size(random), size(random), size(random)];
  const { inputs, frozen } = matrix(random, formats, to, from);
  inputs['x'] = input(random, [rows, from]);
  if (chance(random, 2)) inputs['bias'] = input(random, [to]);
  const terms = Array.from({ length: random.integer(3) }, (_, i) => {
    const own = chance(random, 3) ? size(random) : undefined;
    const r = size(random, 33);
    if (own !== undefined) inputs[`input${i}`] = input(random, [rows, own]);
    inputs[`a${i}`] = input(random, [r, own ?? from]);
    inputs[`b${i}`] = input(random, [to, r]);
    return { scale: 0.5 + random.uniform() };
  });
  return {
    label: `linear [${rows}, ${from}] to ${to}, ${frozen?.dtype ?? 'a tensor'}, ${terms.length} terms of ${terms.map((_, i) => inputs[`a${i}`]!.shape.join(' by ')).join(', ')}`,
    inputs,
    frozen,
    tolerance: tolerance(frozen),
    apply: (given) => {
      const { ops, tensors } = given;
      const lowRank = terms.map(({ scale }, i) => ({ input: tensors[`input${i}`], a: tensors[`a${i}`], b: tensors[`b${i}`], scale }) as LowRankTerm);
      return ops.linear(tensors['x'] as Tensor2D, weightOf(given), tensors['bias'] as Tensor1D | undefined, lowRank);
    },
  };
};

const embedding = (random: Rng, formats: Formats): Call => {
  const [vocabulary, width, count] = [size(random), size(random), size(random)];
  const { inputs, frozen } = matrix(random, formats, vocabulary, width);
  const ids = Int32Array.from({ length: count }, () => random.integer(vocabulary));
  return { label: `embedding of ${count} in [${vocabulary}, ${width}], ${frozen?.dtype ?? 'a tensor'}`, inputs, frozen, tolerance: 2e-4, apply: (given) => given.ops.embedding(weightOf(given), ids) };
};

const rmsNorm = (random: Rng): Call => {
  const [rows, width] = [size(random), size(random)];
  return {
    label: `rmsNorm [${rows}, ${width}]`,
    inputs: { x: input(random, [rows, width]), weight: input(random, [width]) },
    tolerance: 2e-4,
    apply: ({ ops, tensors }) => ops.rmsNorm(tensors['x'] as Tensor2D, tensors['weight'] as Tensor1D, 1e-5),
  };
};

const rope = (random: Rng): Call => {
  const [tokens, heads, half] = [size(random), size(random, 8), size(random, 65)];
  const angles = Float32Array.from({ length: tokens * half }, () => random.normal() * 3);
  return {
    label: `rope [${tokens}, ${heads}, ${2 * half}]`,
    inputs: { x: input(random, [tokens, heads, 2 * half]) },
    tolerance: 2e-4,
    apply: ({ ops, tensors }) => ops.rope(tensors['x'] as Tensor3D, tf.tensor2d(angles.map(Math.cos), [tokens, half]), tf.tensor2d(angles.map(Math.sin), [tokens, half])),
  };
};

const attention = (random: Rng): Call => {
  const [groups, perGroup, width] = [size(random, 3), size(random, 8), size(random, 130)];
  const queryOffsets = offsets(random, size(random, 130));
  const caches = chance(random, 3);
  let before = 0;
  const keyOffsets = queryOffsets.map((end, i) => end + (i > 0 && caches ? (before += random.integer(20)) : 0));
  const window = chance(random, 3) ? 1 + random.integer(40) : undefined;
  const [queries, keys] = [queryOffsets[queryOffsets.length - 1]!, keyOffsets[keyOffsets.length - 1]!];
  return {
    label: `attention of ${queries} on ${keys} in ${queryOffsets.length - 1} segments, ${groups} x ${perGroup} heads of ${width}, window ${window}`,
    inputs: { q: input(random, [queries, groups * perGroup, width]), k: input(random, [keys, groups, width]), v: input(random, [keys, groups, width]) },
    tolerance: 2e-4,
    apply: ({ ops, tensors }) => ops.attention(tensors['q'] as Tensor3D, tensors['k'] as Tensor3D, tensors['v'] as Tensor3D, { queryOffsets, keyOffsets, scale: width ** -0.5, window }),
  };
};

const swiglu = (random: Rng): Call => {
  const shape = [size(random), size(random)];
  return {
    label: `swiglu [${shape.join(', ')}]`,
    inputs: { gate: input(random, shape, { scale: 3 }), up: input(random, shape) },
    tolerance: 2e-4,
    apply: ({ ops, tensors }) => ops.swiglu(tensors['gate'] as Tensor2D, tensors['up'] as Tensor2D),
  };
};

const crossEntropy = (random: Rng, formats: Formats): Call => {
  const [rows, width, vocabulary] = [size(random), size(random), chance(random, 3) ? 1 + random.integer(3000) : size(random)];
  const { inputs, frozen } = matrix(random, formats, vocabulary, width);
  inputs['hidden'] = input(random, [rows, width], { scale: 0.3 });
  const targets = Int32Array.from({ length: rows }, () => (chance(random, 4) ? -100 : random.integer(vocabulary)));
  return {
    label: `crossEntropy [${rows}, ${width}] over ${vocabulary}, ${frozen?.dtype ?? 'a tensor'}`,
    inputs,
    frozen,
    tolerance: tolerance(frozen),
    apply: (given) => given.ops.crossEntropy(given.tensors['hidden'] as Tensor2D, weightOf(given), targets),
  };
};

const dropout = (random: Rng): Call => {
  const shape = [size(random), size(random)];
  const [rate, key] = [random.uniform() * 0.9, { seed: random.integer(1000), step: random.integer(1000), path: 'fuzz' }];
  return { label: `dropout [${shape.join(', ')}] of ${rate}`, inputs: { x: input(random, shape) }, tolerance: 2e-4, apply: ({ ops, tensors }) => ops.dropout(tensors['x']!, rate, key) };
};

export const FUSED: Readonly<Record<keyof FusedOps, (random: Rng, formats: Formats) => Call>> = { linear, embedding, rmsNorm, rope, attention, swiglu, crossEntropy, dropout };
