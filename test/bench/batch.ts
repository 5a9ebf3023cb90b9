/** Tokens per second of all texts together: 1, 4 and 16 texts generated at once, on one LoRA and on as many as there are texts. */
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import type { InjectCall, Logger, WeightDtype } from '../../core/index.ts';
import { checkOptions } from '../../core/config/options.ts';
import { createScope } from '../../core/kernel/scope.ts';
import { Batcher } from '../../core/serving/batcher.ts';
import { startNative } from '../../plugins/engine-native/engine.ts';
import { injectLora } from '../../plugins/inject-lora/lora.ts';
import { LoraOptions } from '../../plugins/inject-lora/options.ts';
import { parseConfig } from '../../plugins/load-llama/config.ts';
import { median } from './median.ts';
import { randomModel } from './random-model.ts';
import { configOf, SHAPES } from './shapes.ts';

const STREAMS = [1, 4, 16];
const ADAPTERS = 16;
const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet };

/** @param options `--shape 135m --dtype f32 --prompt 64 --tokens 48 --rounds 5` */
export async function benchBatch(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...options],
    options: { shape: { type: 'string', default: '135m' }, dtype: { type: 'string', default: 'f32' }, prompt: { type: 'string', default: '64' }, tokens: { type: 'string', default: '48' }, rounds: { type: 'string', default: '5' }, targets: { type: 'string', default: 'q_proj,v_proj' } },
  });
  const shape = SHAPES[values.shape];
  if (shape === undefined) throw new Error(`There is no shape ${values.shape}; there are ${Object.keys(SHAPES).join(', ')}.`);
  const [prompt, tokens, rounds] = [values.prompt, values.tokens, values.rounds].map(Number) as [number, number, number];
  const engine = await startNative();
  const model = randomModel(parseConfig('config.json', configOf(shape)), engine, values.dtype as WeightDtype, values.shape);
  const call = { engine, log: quiet, signal: new AbortController().signal, scope: createScope('bench', quiet), baseDir: tmpdir(), cacheDir: tmpdir(), emit: () => {} };
  const config = checkOptions(LoraOptions, { r: 8, lora_alpha: 32, target_modules: values.targets.split(','), init_lora_weights: false }, 'the inject plugin `lora`') as LoraOptions;
  for (let i = 0; i < ADAPTERS; i++) await injectLora({ ...call, config, seed: i, target: model.target(`adapter-${i}`) } satisfies InjectCall<LoraOptions>);
  const batcher = new Batcher(model);

  /** Seconds from the moment when all texts have their first token until all have their last. */
  const generate = async (streams: number, adapters: number): Promise<{ readonly decode: number; readonly prefill: number }> => {
    batcher.forgetAll();
    const began = performance.now();
    let first = 0;
    let started = 0;
    await Promise.all(
      Array.from({ length: streams }, async (_, stream) => {
        const inputIds = Int32Array.from({ length: prompt }, (_, i) => 3 + ((stream * 7919 + i * 104_729) % (shape.vocabulary - 3)));
        let made = 0;
        for await (const { id } of batcher.generate(`adapter-${stream % adapters}`, { inputIds, maxTokens: tokens, logprobs: false })) {
          if (id < 0) throw new Error('no token');
          if (++made === 1 && ++started === streams) first = performance.now();
        }
      }),
    );
    return { decode: (performance.now() - first) / 1000, prefill: (first - began) / 1000 };
  };
  const cases = STREAMS.flatMap((streams) => (streams === 1 ? [[1, 1]] : [[streams, 1], [streams, ADAPTERS]])) as [number, number][];
  const speeds = new Map(cases.map((each) => [each, { decode: [] as number[], prefill: [] as number[] }]));
  for (let round = 0; round <= rounds; round++) {
    for (const each of cases) {
      const [streams, adapters] = each;
      const { decode, prefill } = await generate(streams, adapters);
      if (round === 0) continue;
      speeds.get(each)!.decode.push((streams * (tokens - 1)) / decode);
      speeds.get(each)!.prefill.push((streams * prompt) / prefill);
    }
  }
  process.stdout.write(`${values.shape} ${values.dtype}, ${engine.info.detail}; LoRA r=8 on ${values.targets}; prompts of ${prompt}, ${tokens} tokens each; median of ${rounds} rounds, interleaved\n`);
  process.stdout.write(`${'texts at once'.padEnd(16)}${'adapters'.padEnd(10)}${'tok/s'.padStart(8)}${'of one'.padStart(8)}${'prompt tok/s'.padStart(14)}\n`);
  for (const [[streams, adapters], { decode, prefill }] of speeds) {
    const one = speeds.get(cases.find(([s, a]) => s === streams && a === 1)!)!.decode;
    const ratio = adapters === 1 ? '' : median(decode.map((speed, i) => speed / one[i]!)).toFixed(2);
    process.stdout.write(`${String(streams).padEnd(16)}${String(Math.min(streams, adapters)).padEnd(10)}${median(decode).toFixed(1).padStart(8)}${ratio.padStart(8)}${median(prefill).toFixed(0).padStart(14)}\n`);
  }
}
