/** One training of the benchmark, in a process of its own: the last line it prints is its figures as JSON. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { tf, writeShardedSafetensors, type Checkpoints, type Dataset, type Engine, type Logger, type Packed, type WeightDtype } from '../../core/index.ts';
import { createScope } from '../../core/kernel/scope.ts';
import { peakMemory } from '../../core/run/peak-memory.ts';
import type { NativeBackend } from '../../plugins/engine-native/backend.ts';
import type { Addon } from '../../plugins/engine-native/binding.ts';
import { startNative } from '../../plugins/engine-native/engine.ts';
import { peakGflops } from '../../plugins/engine-native/peak.ts';
import { startPortable } from '../../plugins/engine-portable/engine.ts';
import { injectLora } from '../../plugins/inject-lora/lora.ts';
import { readParameters } from '../../plugins/load-llama/checkpoint.ts';
import { parseConfig } from '../../plugins/load-llama/config.ts';
import { LlamaModel } from '../../plugins/load-llama/model.ts';
import { options as sftOptions, train } from '../support/training.ts';
import { randomModel, randomSources } from './random-model.ts';
import { configOf, flopsPerToken, SHAPES } from './shapes.ts';

const { values } = parseArgs({
  options: {
    engine: { type: 'string', default: 'native' },
    shape: { type: 'string', default: '135m' },
    dtype: { type: 'string', default: 'f32' },
    batch: { type: 'string', default: '2' },
    seq: { type: 'string', default: '256' },
    steps: { type: 'string', default: '5' },
    lengths: { type: 'string' },
    examples: { type: 'string', default: '128' },
    'micro-batch-tokens': { type: 'string', default: '2048' },
    recompute: { type: 'string' },
    profile: { type: 'boolean', default: false },
    mapped: { type: 'string' },
    write: { type: 'string' },
  },
});
const shape = SHAPES[values.shape]!;
const lengths = values.lengths === undefined ? undefined : (JSON.parse(readFileSync(values.lengths, 'utf8')) as number[]).slice(0, Number(values.examples));
const batch = Number(values.batch);

const modelConfig = parseConfig('config.json', configOf(shape));
const stored = values.dtype === 'f32' ? 'F32' : 'BF16';

async function makeModel(engine: Engine): Promise<LlamaModel> {
  const origin = { name: values.shape, dir: tmpdir(), files: [] };
  if (values.mapped !== undefined) {
    const parameters = await readParameters(values.mapped, modelConfig, engine, { dtype: 'auto', mapped: true, signal: new AbortController().signal, progress: () => {} });
    return new LlamaModel(modelConfig, engine, parameters, origin);
  }
  return randomModel(modelConfig, engine, values.dtype as WeightDtype, values.shape);
}

/** Sequences of one example, every token trained on, as the peer's script has them. */
function sequences(): Packed[] {
  const all = lengths ?? new Array<number>(batch * (Number(values.steps) + 1)).fill(Number(values.seq));
  return all.map((length, n) => {
    const inputIds = Int32Array.from({ length }, (_, i) => 3 + ((i * 7919 + n * 104729) % (shape.vocabulary - 3)));
    return { inputIds, labels: inputIds, offsets: Int32Array.of(0, length) };
  });
}

const nativeAddon = (): Addon => (tf.backend() as unknown as NativeBackend).native.addon;
const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet };
const nothingKept: Checkpoints = { save: async (step) => ({ dir: String(step), best: false }), latest: async () => undefined, best: async () => undefined };

if (values.write !== undefined) {
  await mkdir(values.write, { recursive: true });
  await writeShardedSafetensors(values.write, randomSources(modelConfig, stored).map(({ name, shape: dims, dtype, bytes }) => ({ name, shape: dims, dtype, bytes: () => Uint8Array.from(bytes()) })), 4e9);
  process.stdout.write('{}\n');
  process.exit(0);
}

const engine = values.engine === 'native' ? await startNative() : await startPortable();
const measurePeak = (): number => (engine.info.name === 'native' ? peakGflops(tf.backend() as unknown as NativeBackend, engine.info.detail.split(',')[0]!, engine.info.threads, values.dtype !== 'f32') : Number.NaN);
const ready = performance.now();
const peaks = [measurePeak()];
const peakSeconds = (performance.now() - ready) / 1000;
const megabytes = (): string => (process.memoryUsage.rss() / 2 ** 20).toFixed(0);
if (values.profile) process.stdout.write(`resident before the model: ${megabytes()} MiB\n`);
const model = await makeModel(engine);
// The stand-in for a checkpoint is no part of a training.
globalThis.gc?.();
if (values.profile) process.stdout.write(`with the model: ${megabytes()} MiB\n`);
const stageCall = { engine, seed: 1, log: quiet, signal: new AbortController().signal, scope: createScope('bench', quiet), baseDir: tmpdir(), cacheDir: tmpdir(), emit: () => {} };
const lora = { r: 8, lora_alpha: 16, lora_dropout: 0, target_modules: 'all-linear', rank_pattern: {}, alpha_pattern: {}, use_rslora: false, bias: 'none' as const, ensure_weight_tying: false, init_lora_weights: true as const };
const graft = await injectLora({ ...stageCall, config: lora, target: model.target('bench') });
const dataset: Dataset = { train: sequences(), eval: [], info: [], stats: { examples: 0, tokens: 0, trainedTokens: 0, truncatedExamples: 0, badRows: 0 } };
const config = sftOptions({ batch_size: batch, epochs: lengths === undefined ? 1 : 2, learning_rate: 1e-4, lr_scheduler_type: 'constant', save_strategy: 'no', micro_batch_tokens: Number(values['micro-batch-tokens']), ...(values.recompute === undefined ? {} : { recompute: values.recompute as never }) });
const seconds: number[] = [];
const tokens: number[] = [];
let firstStep = 0;
let loss = 0;
for await (const event of train({ ...stageCall, config, model, dataset, grafts: [graft], stack: 'bench', checkpoints: nothingKept, resume: undefined })) {
  if (event.type !== 'step') continue;
  seconds.push(event.seconds);
  tokens.push(event.tokens);
  loss = event.loss;
  if (values.profile && seconds.length === 1) nativeAddon().profile();
  if (seconds.length === 1) firstStep = performance.now() / 1000 - peakSeconds;
}
if (values.profile) {
  const { arenaBytes, arenaCachedBytes, arenaPeakBytes } = tf.memory() as unknown as Record<string, number>;
  process.stdout.write(`at the end: ${megabytes()} MiB; arena ${JSON.stringify({ arenaBytes, arenaCachedBytes, arenaPeakBytes })}, heap ${(process.memoryUsage().heapTotal / 2 ** 20).toFixed(0)} MiB, external ${(process.memoryUsage().external / 2 ** 20).toFixed(0)} MiB\n`);
  const spent = Object.entries(nativeAddon().profile()).map(([name, [calls, time]]) => ({ name, calls, time }));
  const all = spent.reduce((sum, { time }) => sum + time, 0);
  for (const { name, calls, time } of spent.sort((a, b) => b.time - a.time)) process.stdout.write(`${name.padEnd(24)}${String(calls).padStart(8)} calls ${time.toFixed(3).padStart(9)} s ${(100 * (time / all)).toFixed(1).padStart(6)} %\n`);
}
peaks.push(measurePeak());

// One pass over the lengths, after one that warms up; or the steps after the first.
const counted = lengths === undefined ? 1 : seconds.length / 2;
const [timed, timedTokens] = [seconds.slice(counted), tokens.slice(counted)];
const median = timed.toSorted((a, b) => a - b)[timed.length >> 1]!;
const total = lengths === undefined ? median * timed.length : timed.reduce((a, b) => a + b, 0);
const allTokens = timedTokens.reduce((a, b) => a + b, 0);
const flops = lengths === undefined ? allTokens * flopsPerToken(shape, Number(values.seq)) : lengths.reduce((sum, length) => sum + length * flopsPerToken(shape, length), 0);
process.stdout.write(
  `${JSON.stringify({
    engine: engine.info.name,
    detail: engine.info.detail,
    tokens_per_s: allTokens / total,
    examples_per_s: (lengths?.length ?? batch * timed.length) / total,
    median_step_s: median,
    gflops: flops / total / 1e9,
    peak_gflops: Math.max(...peaks),
    peak_rss_mb: peakMemory() / 2 ** 20,
    first_step_s: firstStep,
    loss,
  })}\n`,
);
process.exit(0);
