import { gflops } from '../../core/tensor/gflops.ts';
import { testEngine } from '../support/engine.ts';

/** The products of a Llama of hidden size 128 over 2,048 tokens, and two larger ones. */
const PRODUCTS: readonly (readonly [what: string, m: number, k: number, n: number])[] = [
  ['attention projection', 2048, 128, 128],
  ['up and gate', 2048, 128, 352],
  ['down', 2048, 352, 128],
  ['logits', 2048, 128, 1024],
  ['low-rank, first', 2048, 128, 8],
  ['low-rank, second', 2048, 8, 128],
  ['weight gradient', 128, 2048, 128],
  ['one token', 1, 128, 352],
  ['512 square', 512, 512, 512],
  ['1,024 square', 1024, 1024, 1024],
];

export async function benchGemm(): Promise<void> {
  const { info } = await testEngine();
  process.stdout.write(`${info.name}: ${info.detail}\n`);
  for (const [what, m, k, n] of PRODUCTS) process.stdout.write(`${what.padEnd(22)} [${m}, ${k}] [${k}, ${n}] ${gflops(m, k, n, 0.5).toFixed(1).padStart(8)} GFLOPS\n`);
}
