/** The native engine as benchmarks use it; the portable one where it was not built. */
import { tf, type Engine } from '../../core/index.ts';
import type { NativeBackend } from '../../plugins/engine-native/backend.ts';
import { loadAddon } from '../../plugins/engine-native/binding.ts';
import { probeNative, startNative } from '../../plugins/engine-native/engine.ts';
import { peakGflops } from '../../plugins/engine-native/peak.ts';
import { startPortable } from '../../plugins/engine-portable/engine.ts';
import { median } from './median.ts';

/** Instruction sets that the native engine can be measured with; none where it was not built. */
export function nativeIsas(): readonly string[] {
  return probeNative().state === 'available' ? loadAddon().isas() : [];
}

export interface BenchEngine {
  readonly engine: Engine;
  /** Floating-point operations a second of which the machine is capable, in billions; NaN where it is not known. */
  peak(bf16: boolean): number;
}

/** The fastest engine that runs here, its name and peak printed. */
export async function benchEngine(): Promise<BenchEngine> {
  const native = probeNative().state === 'available';
  const engine = native ? await startNative() : await startPortable();
  const { name, detail, threads } = engine.info;
  const peak = (bf16: boolean): number => (native ? peakGflops(tf.backend() as unknown as NativeBackend, detail.split(',')[0]!, threads, bf16) : Number.NaN);
  process.stdout.write(`${name}: ${detail}${native ? `, at best ${peak(false).toFixed(0)} GFLOPS in f32${detail.startsWith('avx512bf16') ? `, ${peak(true).toFixed(0)} in bf16` : ''}` : ''}\n`);
  return { engine, peak };
}

/** Seconds of one run, the median of so many as fit the time; `run` must wait for its result. */
export function medianSeconds(run: () => void, seconds = 0.5): number {
  run();
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  do {
    const began = performance.now();
    run();
    times.push((performance.now() - began) / 1000);
  } while (performance.now() < end || times.length < 3);
  return median(times);
}
