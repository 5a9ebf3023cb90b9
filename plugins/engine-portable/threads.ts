/**
 * tfjs's threaded wasm build in Node. tfjs itself starts it in browsers only
 * (github.com/tensorflow/tfjs/issues/3830): its workers come from `blob:` addresses, which Node's workers do not load, and it
 * takes half of the processors that it counts. Both are set right for the length of the start.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { dirname, join } from 'node:path';
import { packageRoots, tf } from 'graft';
import { setThreadsCount } from '@tensorflow/tfjs-backend-wasm';

/** Workers that the build makes, whatever it is asked for. */
export const MOST_THREADS = 8;

interface ThreadedModule {
  readonly PThread: { readonly runningWorkers: readonly { unref(): void }[] };
}

/** Where tfjs's wasm package is; undefined when it is not to be found as files. */
function packageFolder(): string | undefined {
  for (const root of packageRoots()) {
    try {
      return dirname(createRequire(join(root, 'package.json')).resolve('@tensorflow/tfjs-backend-wasm/package.json'));
    } catch {
      // Not to be found from this root.
    }
  }
  return undefined;
}

/**
 * Sets the wasm backend with this many threads.
 * @returns whether it started
 */
export async function setThreadedWasm(threads: number): Promise<boolean> {
  const dir = packageFolder();
  if (dir === undefined) return false;
  const glue = join(dir, 'wasm-out', 'tfjs-backend-wasm-threaded-simd.js');
  const temporary = mkdtempSync(join(os.tmpdir(), 'graft-wasm-'));
  const worker = join(temporary, 'worker.cjs');
  writeFileSync(worker, workerSource(dir, glue));
  const { createObjectURL } = URL;
  const { cpus } = os;
  URL.createObjectURL = () => worker;
  os.cpus = () => [...cpus(), ...cpus()];
  try {
    tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', true);
    setThreadsCount(threads);
    if (!(await tf.setBackend('wasm'))) return false;
    const { PThread } = (tf.backend() as unknown as { wasm: ThreadedModule }).wasm;
    // They wait for work for as long as the process lives, and must not keep it alive.
    PThread.runningWorkers.forEach((running) => running.unref());
    return true;
  } finally {
    URL.createObjectURL = createObjectURL;
    os.cpus = cpus;
    rmSync(temporary, { recursive: true });
  }
}

/** tfjs's own worker, which finds the main script as a file. */
function workerSource(dir: string, glue: string): string {
  const { wasmWorkerContents } = createRequire(glue)(join(dir, 'wasm-out', 'tfjs-backend-wasm-threaded-simd.worker.js')) as { wasmWorkerContents: string };
  return `URL.createObjectURL = () => ${JSON.stringify(glue)};\nURL.revokeObjectURL = () => {};\n${wasmWorkerContents.replaceAll('\n', '\\n')}`;
}
