/** A LoRA training of a model of any shape with drawn weights, as a run would do it, without files. */
import { tmpdir } from 'node:os';
import type { Checkpoints, Dataset, Engine, Packed, TrainEvent, WeightSource } from '../../core/index.ts';
import { createScope } from '../../core/kernel/scope.ts';
import { injectLora } from '../../plugins/inject-lora/lora.ts';
import { parameterShapes } from '../../plugins/load-llama/architecture.ts';
import { parseConfig } from '../../plugins/load-llama/config.ts';
import { LlamaModel } from '../../plugins/load-llama/model.ts';
import { LlamaParameter } from '../../plugins/load-llama/parameter.ts';
import { quietLog } from './strategies.ts';
import { options, train } from './training.ts';

export interface RandomTraining {
  /** A config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Sequences of a step, and tokens of each. */
  readonly batch: number;
  readonly length: number;
  readonly steps: number;
  readonly dropout?: number;
}

/** Evenly spread about 0, quickly: weights of which only the size matters. */
function drawn(shape: readonly number[], seed: number): Float32Array {
  const size = shape.reduce((product, n) => product * n, 1);
  if (shape.length === 1) return new Float32Array(size).fill(1);
  return Float32Array.from({ length: size }, (_, i) => ((Math.imul(i + seed * 7919, 0x9e3779b9) >>> 8) / 2 ** 24 - 0.5) * 0.07);
}

function modelOf(engine: Engine, raw: RandomTraining['config']): LlamaModel {
  const config = parseConfig('config.json', raw);
  const parameters = parameterShapes(config).map(({ name, shape }, i) => {
    const source: WeightSource = { name, shape, dtype: 'F32', bytes: () => new Uint8Array(drawn(shape, i).buffer) };
    return [name, new LlamaParameter(engine, source, 'f32')] as const;
  });
  return new LlamaModel(config, engine, new Map(parameters), { name: 'drawn', dir: tmpdir(), files: [] });
}

/** Its events; nothing is saved, and everything is disposed at its end. */
export async function* randomTraining(engine: Engine, { config, batch, length, steps, dropout = 0 }: RandomTraining): AsyncGenerator<TrainEvent> {
  const model = modelOf(engine, config);
  const scope = createScope('random training', quietLog);
  const call = { engine, seed: 1, log: quietLog, signal: new AbortController().signal, scope, baseDir: tmpdir(), cacheDir: tmpdir(), emit: () => {} };
  const lora = { r: 8, lora_alpha: 16, lora_dropout: dropout, target_modules: 'all-linear', rank_pattern: {}, alpha_pattern: {}, use_rslora: false, bias: 'none', ensure_weight_tying: false, init_lora_weights: true } as const;
  const graft = await injectLora({ ...call, config: lora, target: model.target('own') });
  const sequences = Array.from({ length: batch * steps }, (_, n): Packed => {
    const inputIds = Int32Array.from({ length }, (_, i) => 3 + ((i * 7919 + n * 104729) % (model.config.vocab_size - 3)));
    return { inputIds, labels: inputIds, offsets: Int32Array.of(0, length) };
  });
  const dataset: Dataset = { train: sequences, eval: [], info: [], stats: { examples: sequences.length, tokens: batch * steps * length, trainedTokens: batch * steps * length, truncatedExamples: 0, badRows: 0 } };
  const checkpoints: Checkpoints = { save: async (step) => ({ dir: String(step), best: false }), latest: async () => undefined, best: async () => undefined };
  const given = options({ batch_size: batch, max_steps: steps, learning_rate: 1e-3, lr_scheduler_type: 'constant', save_strategy: 'no', micro_batch_tokens: batch * length });
  try {
    yield* train({ ...call, config: given, model, dataset, grafts: [graft], stack: 'own', checkpoints, resume: undefined });
  } finally {
    graft.remove();
    await scope.dispose();
    model.dispose();
  }
}
