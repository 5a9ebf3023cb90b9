/**
 * A daemon under load, over HTTP: requests per second of the host's own routes, and tokens per second of 1, 4 and 16 chat streams at once on
 * 1 and on 16 adapters.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import autocannon from 'autocannon';
import { writeSafetensors } from '../../core/tensor/safetensors-writer.ts';
import { startGraft } from '../support/command.ts';
import { median } from './median.ts';
import { SHAPES } from './shapes.ts';
import { writeModel } from './write-model.ts';

const STREAMS = [1, 4, 16];
const ADAPTERS = 16;
const RANK = 8;
const PORT = 7699;
const URL_ = `http://127.0.0.1:${PORT}`;

/** @param options `--shape 135m --tokens 48 --rounds 5 --seconds 5` */
export async function benchServe(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...options], options: { shape: { type: 'string', default: '135m' }, tokens: { type: 'string', default: '48' }, rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '5' } } });
  const dir = mkdtempSync(join(tmpdir(), 'graft-bench-serve-'));
  const shape = SHAPES[values.shape];
  if (shape === undefined) throw new Error(`There is no shape ${values.shape}; there are ${Object.keys(SHAPES).join(', ')}.`);
  try {
    await writeModel(values.shape, join(dir, 'model'));
    for (let i = 0; i < ADAPTERS; i++) await writeAdapter(join(dir, 'adapters', String(i)), shape, i);
    writeFileSync(join(dir, 'daemon.yaml'), `state_dir: ./state\nport: ${PORT}\nmodels: [{ model: ./model, id: model, load: { dtype: f32 } }]\nadapter_roots: [./adapters]\n`);
    const daemon = startGraft(['daemon', '--config', join(dir, 'daemon.yaml')], { cwd: dir });
    try {
      await daemon.seen(/The model model is served/);
      for (let i = 0; i < ADAPTERS; i++) await post('/v1/load_lora_adapter', { lora_name: `adapter-${i}`, lora_path: join(dir, 'adapters', String(i)) });
      await benchRoutes(Number(values.seconds));
      await benchStreams(values.shape, Number(values.tokens), Number(values.rounds));
    } finally {
      daemon.process.kill('SIGTERM');
      await daemon.ended;
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function writeAdapter(dir: string, { hidden, heads, groups, layers }: (typeof SHAPES)[string], seed: number): Promise<void> {
  mkdirSync(dir, { recursive: true });
  const config = { peft_type: 'LORA', task_type: 'CAUSAL_LM', r: RANK, lora_alpha: 32, lora_dropout: 0, bias: 'none', target_modules: ['q_proj', 'v_proj'], base_model_name_or_path: 'model' };
  writeFileSync(join(dir, 'adapter_config.json'), JSON.stringify(config));
  const keys = (hidden / heads) * groups;
  const random = (size: number, from: number) => () => new Uint8Array(Float32Array.from({ length: size }, (_, i) => 0.02 * Math.sin(from + 12.9898 * i)).buffer);
  const tensors = Array.from({ length: layers }, (_, layer) =>
    ([['q_proj', hidden], ['v_proj', keys]] as const).flatMap(([name, outputs], which) => {
      const path = `base_model.model.model.layers.${layer}.self_attn.${name}`;
      const from = seed * 1000 + layer * 10 + which;
      return [
        { name: `${path}.lora_A.weight`, dtype: 'F32' as const, shape: [RANK, hidden], bytes: random(RANK * hidden, from) },
        { name: `${path}.lora_B.weight`, dtype: 'F32' as const, shape: [outputs, RANK], bytes: random(outputs * RANK, from + 5) },
      ];
    }),
  ).flat();
  await writeSafetensors(join(dir, 'adapter_model.safetensors'), tensors);
}

/** What autocannon counts in whole milliseconds. */
const shownMs = (ms: number): string => (ms < 1 ? '< 1' : ms.toFixed(0));

/** Ten connections on each route in turn, after a second to warm up. */
async function benchRoutes(seconds: number): Promise<void> {
  process.stdout.write(`${'route'.padEnd(26)}${'requests/s'.padStart(12)}${'p50 ms'.padStart(9)}${'p99 ms'.padStart(9)}\n`);
  for (const path of ['/health', '/ready', '/v1/models', '/v1/files', '/v1/fine_tuning/jobs']) {
    await autocannon({ url: `${URL_}${path}`, connections: 10, duration: 1 });
    const { requests, latency, non2xx } = await autocannon({ url: `${URL_}${path}`, connections: 10, duration: seconds });
    process.stdout.write(`${path.padEnd(26)}${requests.average.toFixed(0).padStart(12)}${shownMs(latency.p50).padStart(9)}${shownMs(latency.p99).padStart(9)}${non2xx === 0 ? '' : `  ${non2xx} were refused`}\n`);
  }
}

async function benchStreams(shape: string, tokens: number, rounds: number): Promise<void> {
  const cases = STREAMS.flatMap((streams) => (streams === 1 ? [[1, 1]] : [[streams, 1], [streams, ADAPTERS]])) as (readonly [number, number])[];
  const results = cases.map(() => [] as number[]);
  for (let round = 0; round <= rounds; round++) {
    for (const [place, [streams, adapters]] of cases.entries()) {
      const began = performance.now();
      const answers = await Promise.all(Array.from({ length: streams }, (_, i) => chat(`adapter-${i % adapters}`, `${round} ${i} tell me of the cat and the sea`, tokens)));
      const seconds = (performance.now() - began) / 1000;
      if (round === 0) continue;
      results[place]!.push(answers.reduce((sum, made) => sum + made, 0) / seconds);
    }
  }
  process.stdout.write(`\n${shape} f32, LoRA r=${RANK} on q_proj and v_proj, ${tokens} tokens an answer, over HTTP; median of ${rounds} rounds, interleaved\n`);
  process.stdout.write(`${'streams'.padEnd(10)}${'adapters'.padEnd(10)}${'tok/s'.padStart(8)}${'of one'.padStart(8)}\n`);
  for (const [place, [streams, adapters]] of cases.entries()) {
    const one = results[cases.findIndex(([s, a]) => s === streams && a === 1)]!;
    const ratio = adapters === 1 ? '' : median(results[place]!.map((speed, i) => speed / one[i]!)).toFixed(2);
    process.stdout.write(`${String(streams).padEnd(10)}${String(Math.min(streams, adapters)).padEnd(10)}${median(results[place]!).toFixed(1).padStart(8)}${ratio.padStart(8)}\n`);
  }
}

/** One stream. @returns its tokens */
async function chat(model: string, content: string, tokens: number): Promise<number> {
  const response = await post('/v1/chat/completions', { model, messages: [{ role: 'user', content }], max_tokens: tokens, temperature: 0, stream: true, stream_options: { include_usage: true } });
  return Number(/"completion_tokens":(\d+)/.exec(await response.text())?.[1] ?? 0);
}

async function post(path: string, body: unknown): Promise<Response> {
  const response = await fetch(`${URL_}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}
