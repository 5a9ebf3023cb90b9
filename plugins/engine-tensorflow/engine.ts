/** Starts TensorFlow's native backend in this process. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { backendEngine, GraftError, tf, type Engine, type EngineProbe } from 'graft';
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
      // It registers its backend with the one tfjs engine that a process has, whichever copy of tfjs it brings.
      createRequire(join(dir, 'package.json'))(dir);
      if (!(await tf.setBackend('tensorflow'))) throw new GraftError('ENGINE_START', `${name} loaded, and its backend did not start.`);
      return backendEngine({ name: 'tensorflow', detail: probe.detail, device: probe.device, threads: threads === 'auto' ? 0 : threads });
    },
  };
}
