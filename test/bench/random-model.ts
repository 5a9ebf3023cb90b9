/** Models of random weights for the benchmarks, of the shapes that have names. */
import type { Engine, WeightDtype, WeightSource } from '../../core/index.ts';
import { tmpdir } from 'node:os';
import { parameterShapes } from '../../plugins/load-llama/architecture.ts';
import type { LlamaConfig } from '../../plugins/load-llama/config.ts';
import { LlamaModel } from '../../plugins/load-llama/model.ts';
import { LlamaParameter } from '../../plugins/load-llama/parameter.ts';

/** A cheap stand-in for the weights of a checkpoint, close to normal with the deviation that models begin with. */
function randomBytes(size: number, seed: number, stored: 'F32' | 'BF16'): Uint8Array {
  let state = (seed * 2654435761 + 1) | 0;
  const draw = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state & 0xffff) - 32768) * (0.02 / 18918);
  };
  if (stored === 'F32') {
    const numbers = new Float32Array(size);
    for (let i = 0; i < size; i++) numbers[i] = draw();
    return new Uint8Array(numbers.buffer);
  }
  const one = new Float32Array(1);
  const bits = new Uint32Array(one.buffer);
  const halves = new Uint16Array(size);
  for (let i = 0; i < size; i++) {
    one[0] = draw();
    halves[i] = bits[0]! >>> 16;
  }
  return new Uint8Array(halves.buffer);
}

/** Every tensor of a shape; the bytes are made when they are asked for, as a loader reads them. */
export function randomSources(config: LlamaConfig, stored: 'F32' | 'BF16'): WeightSource[] {
  const shapes = parameterShapes(config);
  const sizes = shapes.map((each) => each.shape.reduce((a, b) => a * b, 1));
  return shapes.map(({ name, shape: dims }, i) => {
    const matrix = dims.length === 2;
    const bytes = (): Uint8Array => (matrix ? randomBytes(sizes[i]!, i + 1, stored) : new Uint8Array(new Float32Array(sizes[i]!).fill(1).buffer));
    return { name, shape: dims, dtype: matrix ? stored : 'F32', bytes };
  });
}

/** @param dtype how the engine keeps them; those that are smaller than f32 are made from bf16 */
export function randomModel(config: LlamaConfig, engine: Engine, dtype: WeightDtype, name: string): LlamaModel {
  const sources = randomSources(config, dtype === 'f32' ? 'F32' : 'BF16');
  return new LlamaModel(config, engine, new Map(sources.map((source) => [source.name, new LlamaParameter(engine, source, dtype)])), { name, dir: tmpdir(), files: [] });
}
