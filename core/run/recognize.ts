/** Opening a folder with a saved adapter where no config says which plugin made it. */
import { checkOptions } from '../config/options.ts';
import type { CausalLM, Graft, InjectHook, Kernel, StageCall } from '../contracts/index.ts';
import type { TSchema } from 'typebox';
import { GraftError } from '../kernel/errors.ts';
import { readOrigin } from './graft-origin.ts';

/** An inject plugin by the name that `use:` says. */
export interface InjectPlugin {
  readonly name: string;
  readonly hook: InjectHook;
  readonly schema: TSchema;
}

/** What a folder holds, in one plugin's options. */
export interface Recognized {
  readonly plugin: InjectPlugin;
  readonly options: Readonly<Record<string, unknown>>;
}

/** Leases every inject plugin that can be used; `release` gives them all back. */
export function leaseInjectPlugins(kernel: Kernel): { readonly plugins: readonly InjectPlugin[]; release(): void } {
  const leases = kernel.names('inject').flatMap((name) => {
    try {
      return [{ name, lease: kernel.lease('inject', name) }];
    } catch (error) {
      // A plugin that can't be used is reported by `graft plugins`; the others still recognize their own.
      if (GraftError.is(error)) return [];
      throw error;
    }
  });
  return {
    plugins: leases.map(({ name, lease }) => ({ name, hook: lease.value, schema: lease.schema })),
    release: () => leases.forEach(({ lease }) => lease.release()),
  };
}

/**
 * Asks every inject plugin whether it knows what a folder holds; the folder's name says nothing. Where none does, the
 * folder may say which plugin made it.
 * @throws GraftError `ADAPTER_UNKNOWN` where nothing tells, with the reasons of those that refused; `ADAPTER_ORIGIN`; else what a plugin throws
 */
export async function recognizeFolder(dir: string, plugins: readonly InjectPlugin[]): Promise<Recognized> {
  const refused: string[] = [];
  for (const plugin of plugins) {
    try {
      const options = await plugin.hook.recognize?.(dir);
      if (options !== undefined) return { plugin, options: options as Readonly<Record<string, unknown>> };
    } catch (error) {
      // Another plugin may compute what this one does not; a folder that is broken is broken for all.
      if (!GraftError.is(error) || !error.code.endsWith('_UNSUPPORTED')) throw error;
      refused.push(error.message);
    }
  }
  const origin = await readOrigin(dir, plugins);
  if (origin !== undefined) return origin;
  throw new GraftError('ADAPTER_UNKNOWN', refused.length > 0 ? refused.join(' ') : `no inject plugin knows what ${dir} holds.`, {
    hint: `Asked: ${plugins.map((plugin) => plugin.name).join(', ') || 'none, for there is no inject plugin'}.`,
  });
}

/** Grafts what a folder holds onto a stack of a model, with its values; the caller removes it. */
export async function graftFromFolder(dir: string, { plugin, options }: Recognized, model: CausalLM, stack: string, call: Omit<StageCall<unknown>, 'config'>): Promise<Graft> {
  const config = checkOptions(plugin.schema, options, `the inject plugin \`${plugin.name}\``);
  const graft = await plugin.hook.inject({ ...call, config, target: model.target(stack) });
  try {
    await graft.load(dir);
  } catch (error) {
    graft.remove();
    throw error;
  }
  return graft;
}
