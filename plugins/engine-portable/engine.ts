/** Starts tfjs's wasm backend, or its cpu backend where wasm does not load. */
import { backendEngine, reasonOf, tf, type Engine } from 'graft';
import '@tensorflow/tfjs-backend-wasm';
import { bridgeMissingKernels, quietCpu } from './bridge.ts';
import { WasmMemory, type WasmBackend } from './memory.ts';
import { wasmOps } from './ops/index.ts';
import { overrideKernels } from './overrides.ts';

/** Our kernels live in the backend's memory, and a tfjs backend lives as long as its process. */
let wasm: WasmMemory | undefined;
let bridged = false;

/** Starts the engine; a second start is another engine on the same backend. */
export async function startPortable(): Promise<Engine> {
  const failure = await setWasm();
  if (failure !== undefined) {
    quietCpu();
    await tf.setBackend('cpu');
    return backendEngine({ name: 'portable', detail: `plain JavaScript (wasm did not load: ${failure})`, device: 'cpu', threads: 1 });
  }
  if (!bridged) bridgeMissingKernels();
  bridged = true;
  if (!(await hasSimd())) return backendEngine({ name: 'portable', detail: 'wasm without simd', device: 'cpu', threads: 1 });
  if (wasm === undefined) {
    wasm = new WasmMemory(tf.backend() as WasmBackend);
    overrideKernels(wasm);
  }
  return backendEngine({ name: 'portable', detail: 'wasm simd', device: 'cpu', threads: 1 }, wasmOps(wasm));
}

/** Whether this machine runs WebAssembly's vector instructions. */
export async function hasSimd(): Promise<boolean> {
  return Boolean(await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT'));
}

/** Why wasm did not load; undefined when it did. */
async function setWasm(): Promise<string | undefined> {
  try {
    return (await tf.setBackend('wasm')) ? undefined : 'the backend refused to start';
  } catch (error) {
    return reasonOf(error);
  }
}
