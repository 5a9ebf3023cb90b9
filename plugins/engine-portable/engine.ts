/** The running engine: tfjs's wasm backend, or its cpu backend where wasm does not load. */
import { freezePortable, portableOps, reasonOf, tf, type Engine, type EngineInfo, type FrozenWeight, type WeightDtype, type WeightSource } from 'graft';
import '@tensorflow/tfjs-backend-wasm';
import { bridgeMissingKernels, quietCpu } from './bridge.ts';
import { WasmMemory, type WasmBackend } from './memory.ts';
import { wasmOps } from './ops/index.ts';
import { overrideKernels } from './overrides.ts';

let running: Promise<Engine> | undefined;

/** Starts it, or returns the one that runs: a tfjs backend is global to the process. */
export function startPortable(): Promise<Engine> {
  running ??= start().catch((error: unknown) => {
    running = undefined;
    throw error;
  });
  return running;
}

async function start(): Promise<Engine> {
  const { info, ops } = await setBackend();
  const frozen = new Set<FrozenWeight>();
  return {
    info,
    ops,
    freeze: (source: WeightSource, dtype: WeightDtype) => {
      const weight = freezePortable(source, dtype);
      frozen.add(weight);
      const release = weight.dispose.bind(weight);
      weight.dispose = () => {
        frozen.delete(weight);
        release();
      };
      return weight;
    },
    memory: () => {
      const { numBytes, numTensors } = tf.memory();
      let frozenBytes = 0;
      for (const weight of frozen) frozenBytes += weight.bytes;
      return { frozenBytes, tensorBytes: numBytes - frozenBytes, tensors: numTensors };
    },
    dispose: async () => {
      for (const weight of [...frozen]) weight.dispose();
      running = undefined;
    },
  };
}

async function setBackend(): Promise<Pick<Engine, 'info' | 'ops'>> {
  const failure = await loadWasm();
  if (failure === undefined) {
    const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
    bridgeMissingKernels();
    const info: EngineInfo = { name: 'portable', detail: `wasm${simd ? ' simd' : ''}, 1 thread`, device: 'cpu', threads: 1 };
    if (!simd) return { info, ops: portableOps };
    const memory = new WasmMemory(tf.backend() as WasmBackend);
    overrideKernels(memory);
    return { info, ops: wasmOps(memory) };
  }
  quietCpu();
  await tf.setBackend('cpu');
  return { info: { name: 'portable', detail: `plain JavaScript (wasm did not load: ${failure})`, device: 'cpu', threads: 1 }, ops: portableOps };
}

/** Why wasm did not load; undefined when it did. */
async function loadWasm(): Promise<string | undefined> {
  try {
    return (await tf.setBackend('wasm')) ? undefined : 'the backend refused to start';
  } catch (error) {
    return reasonOf(error);
  }
}
