/** Starts the native backend in this process. */
import { availableParallelism } from 'node:os';
import { GraftError, reasonOf, tf, type Engine, type EngineProbe } from 'graft';
import { BACKEND, NativeBackend } from './backend.ts';
import { loadAddon, Native, type Addon } from './binding.ts';
import { bridgeMissingKernels } from './bridge.ts';
import { NativeWeight } from './frozen.ts';
import { registerNativeKernels } from './kernels/index.ts';
import { nativeCachedAttention } from './ops/cached-attention.ts';
import { nativeOps } from './ops/index.ts';
import { nativeOptimizer } from './ops/optimizer.ts';

/** A tfjs backend lives as long as its process. */
interface Running {
  readonly backend: NativeBackend;
  readonly isa: string;
  readonly threads: number;
}

let running: Running | undefined;

/** Whether the addon was built and loads, and what it would compute with. */
export function probeNative(): EngineProbe {
  try {
    const isa = chosenIsa(loadAddon());
    return { state: 'available', detail: `${isa}, ${threadsText(availableParallelism())}`, device: 'cpu' };
  } catch (error) {
    const remedy = 'Install a C++ compiler, make and Python 3, and run `npm run build:native`.';
    if (GraftError.is(error) && error.code === 'NATIVE_NOT_BUILT') return { state: 'no-native-library', detail: 'not built on this machine; other engines on the processor are several times slower', remedy };
    return { state: 'broken', detail: reasonOf(error), remedy };
  }
}

/**
 * Starts the engine; a second start is another engine on the same backend.
 * @param threads `auto`: as many as the machine lets this process use
 * @throws GraftError `NATIVE_NOT_BUILT`, `ENGINE_ISA` for a GRAFT_ISA that this processor does not run, `ENGINE_THREADS` for another
 * number than the process already runs with
 */
export async function startNative(threads: number | 'auto' = 'auto'): Promise<Engine> {
  running ??= startBackend(threads === 'auto' ? availableParallelism() : threads);
  const { backend, isa, threads: count } = running;
  if (threads !== 'auto' && threads !== count) {
    throw new GraftError('ENGINE_THREADS', `Engine native was asked for ${threads} threads, and runs with ${count} in this process.`, { option: ['engine', 'threads'] });
  }
  await tf.setBackend(BACKEND);
  const frozen = new Set<NativeWeight>();
  return {
    info: { name: 'native', detail: `${isa}, ${threadsText(count)}`, device: 'cpu', threads: count },
    ops: nativeOps(backend),
    optimizer: nativeOptimizer(backend),
    cachedAttention: nativeCachedAttention(backend),
    mapsWeights: true,
    packsInPlace: true,
    rematerializes: true,
    freeze: (source, dtype, options = {}) => {
      const weight = new NativeWeight(backend, source, dtype, options, (disposed) => frozen.delete(disposed));
      frozen.add(weight);
      return weight;
    },
    memory: () => {
      let frozenBytes = 0;
      for (const weight of frozen) frozenBytes += weight.bytes;
      const { numBytes, numTensors } = tf.memory();
      return { frozenBytes, tensorBytes: numBytes, tensors: numTensors };
    },
    dispose: async () => {
      for (const weight of [...frozen]) weight.dispose();
      await backend.native.addon.readAsync(-1);
      backend.native.addon.trim();
    },
  };
}

function startBackend(threads: number): Running {
  const addon = loadAddon();
  const isa = chosenIsa(addon);
  addon.start(isa, threads);
  const backend = new NativeBackend(new Native(addon));
  tf.registerBackend(BACKEND, () => backend);
  registerNativeKernels();
  bridgeMissingKernels();
  return { backend, isa, threads };
}

/** The best that the processor runs, or what GRAFT_ISA says. */
function chosenIsa(addon: Addon): string {
  const all = addon.isas();
  const asked = process.env['GRAFT_ISA'];
  if (asked === undefined || asked === '') return all[0]!;
  if (!all.includes(asked)) throw new GraftError('ENGINE_ISA', `GRAFT_ISA asks for ${asked}, which this processor does not run.`, { hint: `It runs ${all.join(', ')}.` });
  return asked;
}

function threadsText(count: number): string {
  return count === 1 ? '1 thread' : `${count} threads`;
}
