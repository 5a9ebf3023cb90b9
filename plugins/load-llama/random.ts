/** Weights of a model that is yet to be trained, drawn from a seed. */
import { bytesOf, rng, type Engine, type WeightSource } from 'graft';
import { parameterShapes } from './architecture.ts';
import type { LlamaConfig } from './config.ts';
import { LlamaParameter } from './parameter.ts';

/** transformers' default for every Llama. */
const INITIALIZER_RANGE = 0.02;
const STORED: Readonly<Record<string, WeightSource['dtype']>> = { float16: 'F16', bfloat16: 'BF16' };

/**
 * Draws every tensor of the config as transformers does: matrices normal with deviation `initializer_range`, norms one,
 * biases zero. They are kept and saved in the config's `dtype` (or `torch_dtype`).
 * @param seed the same seed gives the same weights on every machine
 * @returns by name, in the order of `parameterShapes`
 */
export function randomParameters(config: LlamaConfig, engine: Engine, seed: number): ReadonlyMap<string, LlamaParameter> {
  const { initializer_range: range, dtype, torch_dtype: torchDtype } = config.raw;
  const deviation = typeof range === 'number' ? range : INITIALIZER_RANGE;
  const stored = STORED[String(dtype ?? torchDtype)] ?? 'F32';
  return new Map(
    parameterShapes(config).map(({ name, shape }) => {
      const random = rng(seed, 'init', name);
      const draw = shape.length === 2 ? () => random.normal() * deviation : name.endsWith('.bias') ? () => 0 : () => 1;
      const values = Float32Array.from({ length: shape.reduce((product, n) => product * n, 1) }, draw);
      const source: WeightSource = { name, shape, dtype: stored, bytes: () => bytesOf(values, stored) };
      return [name, new LlamaParameter(engine, source, 'f32')];
    }),
  );
}
