/**
 * `npm run bench [-- name ... [options]]`: runs the named benchmarks, or all that need no options. Compare figures as ratios:
 * machines differ and drift.
 */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { nativeIsas } from './native.ts';

interface Benchmark {
  readonly what: string;
  /** Run once for each instruction set of the native engine, in a process of its own. */
  readonly perIsa?: boolean;
  run(options: readonly string[]): Promise<void>;
}

const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  swap: { what: 'from saving a plugin to its new generation being active', run: async () => (await import('./swap.ts')).benchSwap() },
  gemm: { what: 'matrix products, frozen and not', perIsa: true, run: async () => (await import('./gemm.ts')).benchGemm() },
  attention: { what: 'attention over packed segments, forward and backward', perIsa: true, run: async () => (await import('./attention.ts')).benchAttention() },
  'cross-entropy': { what: 'the output layer with its loss', perIsa: true, run: async () => (await import('./cross-entropy.ts')).benchCrossEntropy() },
  ops: { what: 'the fused operations, forward and backward', run: async () => (await import('./ops.ts')).benchOps() },
  batch: { what: 'generating many texts at once, on one adapter and on many', run: async (options) => (await import('./batch.ts')).benchBatch(options) },
  serve: { what: 'a daemon under load: its own routes, and chat streams on one adapter and on many', run: async (options) => (await import('./serve.ts')).benchServe(options) },
  train: { what: 'whole training steps, beside PEFT where --peers says where it is', run: async (options) => (await import('./train.ts')).benchTrain(options) },
};

const given = process.argv.slice(2);
const firstOption = given.findIndex((argument) => argument.startsWith('--'));
const asked = firstOption === -1 ? given : given.slice(0, firstOption);
const options = firstOption === -1 ? [] : given.slice(firstOption);
const unknown = asked.filter((name) => !(name in BENCHMARKS));
if (unknown.length > 0) {
  process.stderr.write(`No benchmark is named ${unknown.join(', ')}. There are: ${Object.keys(BENCHMARKS).join(', ')}.\n`);
  process.exit(2);
}
const forced = process.env['GRAFT_ISA'];
if (process.env['GRAFT_BENCH_CHILD'] === undefined) process.stdout.write(`${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, Node ${process.versions.node}\n`);
for (const [name, { what, perIsa = false, run }] of Object.entries(BENCHMARKS)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const isas = perIsa && forced === undefined ? nativeIsas() : [];
  if (process.env['GRAFT_BENCH_CHILD'] === undefined) process.stdout.write(`\n${name}: ${what}\n`);
  if (isas.length === 0) await run(options);
  for (const isa of isas) {
    const child = spawnSync(process.execPath, ['--import', 'tsx', fileURLToPath(import.meta.url), name, ...options], { stdio: 'inherit', env: { ...process.env, GRAFT_ISA: isa, GRAFT_BENCH_CHILD: '1' } });
    if (child.status !== 0) process.exit(child.status ?? 1);
  }
}
process.exit(0);
