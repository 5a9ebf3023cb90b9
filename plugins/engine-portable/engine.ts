/** The running engine: tfjs's wasm backend, or its cpu backend where wasm does not load. */
import { freezePortable, portableOps, reasonOf, tf, type Engine, type EngineInfo, type FrozenWeight, type WeightDtype, type WeightSource } from 'graft';
import '@tensorflow/tfjs-backend-wasm';
import { bridgeMissingKernels, quietCpu } from './bridge.ts';

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
  const info = await setBackend();
  const frozen = new Set<FrozenWeight>();
  return {
    info,
    ops: portableOps,
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

async function setBackend(): Promise<EngineInfo> {
  const failure = await loadWasm();
  if (failure === undefined) {
    const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
    bridgeMissingKernels();
    return { name: 'portable', detail: `wasm${simd ? ' simd' : ''}, 1 thread`, device: 'cpu', threads: 1 };
  }
  quietCpu();
  await tf.setBackend('cpu');
  return { name: 'portable', detail: `plain JavaScript (wasm did not load: ${failure})`, device: 'cpu', threads: 1 };
}

/** Why wasm did not load; undefined when it did. */
async function loadWasm(): Promise<string | undefined> {
  try {
    return (await tf.setBackend('wasm')) ? undefined : 'the backend refused to start';
  } catch (error) {
    return reasonOf(error);
  }
}
