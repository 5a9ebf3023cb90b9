/** Starts TensorFlow's native backend in this process. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { backendEngine, GraftError, tf, type Engine, type EngineInfo, type EngineProbe } from 'graft';
import { Bfloat16, bfloat16Pays, Bfloat16Weight } from './bfloat16.ts';
import { nodeBackend } from './binding.ts';
import { tensorflowOps } from './ops.ts';
import { probePackages, type PackageProbe } from './probe.ts';

/** A provider's probe and start, looking for the packages from these folders. */
export function tensorflow(roots: readonly string[]): { probe(): Promise<EngineProbe>; start(threads: number | 'auto'): Promise<Engine> } {
  let probing: Promise<PackageProbe> | undefined;
  const probed = () => (probing ??= probePackages(roots));

  return {
    probe: async () => (await probed()).probe,

    start: async (threads) => {
      const { package: name, dir, probe } = await probed();
      if (probe.state !== 'available' || dir === undefined) {
        throw new GraftError('ENGINE_UNAVAILABLE', `Engine tensorflow cannot run here: ${probe.detail}.`, { hint: probe.state === 'available' ? undefined : probe.remedy });
      }
      // TensorFlow reads these once, when its library loads.
      process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2';
      if (threads !== 'auto') process.env['TF_NUM_INTRAOP_THREADS'] ??= String(threads);
      const require = createRequire(join(dir, 'package.json'));
      restoreRemoved(require('node:util') as Record<string, unknown>);
      shareTfjs(require);
      require(dir);
      if (!(await tf.setBackend('tensorflow'))) throw new GraftError('ENGINE_START', `${name} loaded, and its backend did not start.`);
      return startedEngine({ name: 'tensorflow', detail: probe.detail, device: probe.device, threads: threads === 'auto' ? 0 : threads });
    },
  };
}

/** tfjs-node 4.22 calls it, and Node 23 has removed it; the trial of probe.ts does the same. */
function restoreRemoved(util: Record<string, unknown>): void {
  util['isNullOrUndefined'] ??= (value: unknown) => value == null;
}

/**
 * Gives tfjs-node our tfjs in place of the copy beside it. A second one would work, in the one engine that a process has,
 * but registers every kernel and gradient again, over those that Graft has mended.
 */
function shareTfjs(theirs: NodeJS.Require): void {
  const ours = createRequire(import.meta.url);
  for (const name of ['@tensorflow/tfjs', '@tensorflow/tfjs-core']) {
    const [from, to] = [pathOf(ours, name), pathOf(theirs, name)];
    if (from === undefined || to === undefined || from === to) continue;
    ours(from);
    theirs.cache[to] = ours.cache[from];
  }
}

function pathOf(require: NodeJS.Require, name: string): string | undefined {
  try {
    return require.resolve(name);
  } catch {
    return undefined;
  }
}

/** The engine of the backend that is set; weights asked for in bf16 stay so where that pays. */
function startedEngine(info: EngineInfo): Engine {
  const backend = nodeBackend(tf.backend());
  if (backend === undefined || !bfloat16Pays(backend.isUsingGpuDevice)) return backendEngine(info);
  const engine = backendEngine({ ...info, detail: `${info.detail}, bf16 weights in bfloat16` }, tensorflowOps);
  const bfloat16 = new Bfloat16(backend);
  const held = new Set<Bfloat16Weight>();
  return {
    ...engine,

    freeze: (source, dtype) => {
      // What is no matrix is refused there.
      if (dtype !== 'bf16' || source.shape.length !== 2) return engine.freeze(source, dtype);
      const weight = new Bfloat16Weight(bfloat16, source, () => held.delete(weight));
      held.add(weight);
      return weight;
    },

    memory: () => {
      const { frozenBytes, ...rest } = engine.memory();
      return { ...rest, frozenBytes: [...held].reduce((bytes, weight) => bytes + weight.bytes, frozenBytes) };
    },

    dispose: async () => {
      for (const weight of [...held]) weight.dispose();
      await engine.dispose();
    },
  };
}
