import type { NativeBackend } from './backend.ts';

/** Multiply-adds of one tile of the operation `peak`, for a tile of `rows` by `columns`. */
const DEPTH = 64;

/** Tile sizes of each instruction set, as native/isa/gemm.inl.h has them. */
const TILES: Readonly<Record<string, readonly [rows: number, columns: number]>> = { base: [6, 8], avx2: [6, 16], avx512: [14, 32], avx512bf16: [14, 32] };

/** Billions of floating-point operations a second of which all threads together are capable, in float32 or bf16. */
export function peakGflops(backend: NativeBackend, isa: string, threads: number, bf16: boolean): number {
  const [rows, columns] = process.arch === 'arm64' ? [12, 8] : TILES[isa]!;
  const flops = 2 * rows * columns * DEPTH * (bf16 ? 2 : 1);
  const repetitions = Math.ceil(4e9 / flops);
  const run = (): number => {
    const began = performance.now();
    backend.native.run('peak', [bf16 ? 1 : 0, repetitions]);
    backend.native.addon.drain();
    return (performance.now() - began) / 1000;
  };
  run();
  return (threads * repetitions * flops) / Math.min(run(), run(), run()) / 1e9;
}
