/** Saved adapters as stacks that can be built again and again, recognized by what their folders hold. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CausalLM, GenerationInfo, Graft, Kernel, StageCall } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { graftFromFolder, leaseInjectPlugins, recognizeFolder } from '../run/recognize.ts';
import type { StackSource } from './served-models.ts';

export interface AdapterHost {
  readonly kernel: Kernel;
  readonly model: CausalLM;
  /** What every hook call is given, but for its config. */
  readonly call: Omit<StageCall<unknown>, 'config'>;
}

/**
 * An adapter by its folder: one method's, as a peer saves it, or a run's `adapters/` with a folder for each graft.
 * @param id the name that requests say
 * @throws from `build`: GraftError `ADAPTER_MISSING`, `ADAPTER_UNKNOWN`, and what the plugin throws that the folder belongs to
 */
export function adapterSource({ kernel, model, call }: AdapterHost, id: string, dir: string): StackSource {
  return {
    id,
    // Whatever plugin knows the folder is one of these.
    plugins: kernel.names('inject').map((name) => `inject:${name}`),
    build: async (stack) => {
      const folders = await adapterFolders(dir);
      const leased = leaseInjectPlugins(kernel);
      const scope = call.scope.child(`stack ${stack}`);
      const grafts: Graft[] = [];
      const generations: GenerationInfo[] = [];
      try {
        for (const folder of folders) {
          const recognized = await recognizeFolder(folder, leased.plugins);
          const use = kernel.lease('inject', recognized.plugin.name, { pinned: true });
          scope.own(`lease inject:${recognized.plugin.name}`, () => use.release());
          const graft = await graftFromFolder(folder, recognized, model, stack, { ...call, scope });
          scope.own(`graft ${graft.name}`, () => graft.remove());
          grafts.push(graft);
          generations.push(use.generation);
        }
        return { stack, grafts, generations, dispose: () => scope.dispose() };
      } catch (error) {
        await scope.dispose();
        throw error;
      } finally {
        leased.release();
      }
    },
  };
}

/** The folders of an adapter's grafts, in their order: itself where it holds one method's. */
async function adapterFolders(dir: string): Promise<readonly string[]> {
  if (await isOneAdapter(dir)) return [dir];
  const names = (await readdir(dir)).filter((name) => /^\d+-/.test(name));
  return names.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)).map((name) => join(dir, name));
}

/**
 * Whether a folder holds one adapter, and not a folder `<index>-<name>` for each graft of a config.
 * @throws GraftError `ADAPTER_MISSING`
 */
export async function isOneAdapter(dir: string): Promise<boolean> {
  if (!existsSync(dir)) throw new GraftError('ADAPTER_MISSING', `${dir} does not exist.`, { hint: 'Name a folder with a saved adapter.' });
  const entries = await readdir(dir, { withFileTypes: true });
  return !entries.some((entry) => entry.isDirectory() && /^\d+-/.test(entry.name));
}
