/** `npm run bench [-- name ...]`: runs the named benchmarks, or all of them. Compare figures as ratios: machines differ and drift. */
import { cpus } from 'node:os';

const BENCHMARKS: Readonly<Record<string, { readonly what: string; readonly run: () => Promise<void> }>> = {
  swap: { what: 'from saving a plugin to its new generation being active', run: async () => (await import('./swap.ts')).benchSwap() },
  gemm: { what: 'matrix products of the engine that auto takes', run: async () => (await import('./gemm.ts')).benchGemm() },
  ops: { what: 'the fused operations, forward and backward', run: async () => (await import('./ops.ts')).benchOps() },
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in BENCHMARKS));
if (unknown.length > 0) {
  process.stderr.write(`No benchmark is named ${unknown.join(', ')}. There are: ${Object.keys(BENCHMARKS).join(', ')}.\n`);
  process.exit(2);
}
process.stdout.write(`${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, Node ${process.versions.node}\n`);
for (const [name, { what, run }] of Object.entries(BENCHMARKS)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  process.stdout.write(`\n${name}: ${what}\n`);
  await run();
}
process.exit(0);
