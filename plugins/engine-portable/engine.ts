/** Starts tfjs's wasm backend, or its cpu backend where wasm does not load. */
import { backendEngine, GraftError, reasonOf, tf, type Engine } from 'graft';
import '@tensorflow/tfjs-backend-wasm';
import { bridgeMissingKernels, quietCpu } from './bridge.ts';
import { guardAllocation, WasmMemory, type WasmBackend } from './memory.ts';
import { wasmOps } from './ops/index.ts';
import { overrideKernels } from './overrides.ts';
import { MOST_THREADS, setThreadedWasm } from './threads.ts';

/** What runs in this process: a tfjs backend lives as long as its process, and our kernels live in its memory. */
interface Running {
  readonly memory: WasmMemory | undefined;
  readonly threads: number;
}

let running: Running | undefined;

/**
 * Starts the engine; a second start is another engine on the same backend.
 * @param threads at most 8; `auto` is 1: more are faster on an idle machine, cost 140 MB, and wait for each other on a busy one
 * @throws GraftError `ENGINE_THREADS` for another number than the process already runs with
 */
export async function startPortable(threads: number | 'auto' = 'auto'): Promise<Engine> {
  if (running === undefined) {
    const failure = await withoutHandlers(() => setWasm(threads === 'auto' ? 1 : threads));
    if (failure !== undefined) {
      quietCpu();
      await tf.setBackend('cpu');
      return backendEngine({ name: 'portable', detail: `plain JavaScript (wasm did not load: ${failure})`, device: 'cpu', threads: 1 });
    }
  } else {
    if (threads !== 'auto' && Math.min(threads, MOST_THREADS) !== running.threads) {
      throw new GraftError('ENGINE_THREADS', `Engine portable was asked for ${threads} threads, and runs with ${running.threads} in this process.`, { option: ['engine', 'threads'] });
    }
    await tf.setBackend('wasm');
  }
  const { memory, threads: count } = running!;
  const detail = `wasm${memory === undefined ? ' without simd' : ' simd'}, ${count === 1 ? '1 thread' : `${count} threads`}`;
  return backendEngine({ name: 'portable', detail, device: 'cpu', threads: count }, memory && wasmOps(memory));
}

/** Node has none when it may not compile, as under `--jitless` or `--no-expose-wasm`. */
function hasWebAssembly(): boolean {
  return 'WebAssembly' in globalThis;
}

/** What an engine started now would run on. */
export async function describePlatform(): Promise<string> {
  if (!hasWebAssembly()) return 'plain JavaScript';
  return (await hasSimd()) ? 'wasm simd' : 'wasm without simd';
}

/** Whether this machine runs WebAssembly's vector instructions. */
async function hasSimd(): Promise<boolean> {
  return Boolean(await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT'));
}

/** Why wasm did not load; undefined when it did, and `running` says how. */
async function setWasm(wanted: number): Promise<string | undefined> {
  if (!hasWebAssembly()) return 'this Node runs without WebAssembly';
  try {
    const simd = await hasSimd();
    const threads = simd ? Math.min(Math.max(1, wanted), MOST_THREADS) : 1;
    const started = threads > 1 ? await setThreadedWasm(threads) : await tf.setBackend('wasm');
    if (!started) return 'the backend refused to start';
    bridgeMissingKernels();
    guardAllocation(tf.backend() as WasmBackend);
    const memory = simd ? new WasmMemory(tf.backend() as WasmBackend) : undefined;
    if (memory !== undefined) overrideKernels(memory);
    running = { memory, threads };
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

/** The wasm build, as it starts, listens for the process's uncaught errors and throws them anew: they are not its own. */
async function withoutHandlers<T>(start: () => Promise<T>): Promise<T> {
  const events = ['uncaughtException', 'unhandledRejection'] as const;
  const before = events.map((event) => new Set(process.listeners(event as 'uncaughtException')));
  try {
    return await start();
  } finally {
    events.forEach((event, i) => {
      for (const listener of process.listeners(event as 'uncaughtException')) if (!before[i]!.has(listener)) process.off(event, listener);
    });
  }
}
