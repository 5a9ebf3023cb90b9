import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkOptions, GraftError, type Graft, type InjectCall, type InjectHook } from 'graft';
import { MixedOptions } from './options.ts';
import { isUnion, joinUnion, splitUnion, UNION_PARTS, type Part } from './union.ts';

/** A strategy made of two others, trained, saved and loaded as one. What each computes is its own affair. */
export class Mixed implements InjectHook<MixedOptions> {
  readonly options = MixedOptions;
  readonly #hooks: Readonly<Record<Part, InjectHook>>;

  constructor(hooks: Readonly<Record<Part, InjectHook>>) {
    this.#hooks = hooks;
  }

  /**
   * Grafts the LoRA, then the Adapter around it.
   * @throws GraftError as either plugin does, with the option's path under `lora` or `adapter`
   */
  async inject(call: InjectCall<MixedOptions>): Promise<Graft> {
    const lora = await this.#injectPart('lora', call);
    let adapter: Graft;
    try {
      adapter = await this.#injectPart('adapter', call);
    } catch (error) {
      lora.remove();
      throw error;
    }
    const parts = { lora, adapter };
    return {
      name: 'mixed',
      trainables: [...lora.trainables, ...adapter.trainables],
      save: (dir) => (call.config.save_format === 'adapterhub' ? saveUnion(parts, dir, call.target.config.num_hidden_layers) : saveParts(parts, dir)),
      load: (dir) => load(parts, dir),
      remove: () => {
        adapter.remove();
        lora.remove();
      },
    };
  }

  /** Recognizes what `save` wrote, in either format, and a union of the two that AdapterHub saved. */
  async recognize(dir: string): Promise<Partial<MixedOptions> | undefined> {
    if (await isUnion(dir)) return throughParts(async (apart) => (await splitUnion(dir, apart), this.#recognizeParts(apart, 'adapterhub')));
    return UNION_PARTS.every((part) => existsSync(join(dir, part))) ? this.#recognizeParts(dir, 'folders') : undefined;
  }

  async #recognizeParts(dir: string, format: MixedOptions['save_format']): Promise<Partial<MixedOptions> | undefined> {
    const lora = await this.#hooks.lora.recognize?.(join(dir, 'lora'));
    const adapter = await this.#hooks.adapter.recognize?.(join(dir, 'adapter'));
    if (lora === undefined || adapter === undefined) return undefined;
    return { lora, adapter, save_format: format } as Partial<MixedOptions>;
  }

  async #injectPart(part: Part, call: InjectCall<MixedOptions>): Promise<Graft> {
    const hook = this.#hooks[part];
    const config = hook.options === undefined ? call.config[part] : checkOptions(hook.options, call.config[part], `the inject plugin \`${part}\``, [part]);
    try {
      return await hook.inject({ ...call, config });
    } catch (error) {
      if (!GraftError.is(error) || error.option === undefined) throw error;
      throw new GraftError(error.code, error.message, { option: [part, ...error.option], hint: error.hint, cause: error });
    }
  }
}

async function saveParts(parts: Readonly<Record<Part, Graft>>, dir: string): Promise<readonly string[]> {
  const written: string[] = [];
  for (const part of UNION_PARTS) {
    await mkdir(join(dir, part), { recursive: true });
    for (const file of await parts[part].save(join(dir, part))) written.push(join(part, file));
  }
  return written;
}

function saveUnion(parts: Readonly<Record<Part, Graft>>, dir: string, layerCount: number): Promise<readonly string[]> {
  return throughParts(async (apart) => {
    await saveParts(parts, apart);
    return joinUnion(apart, dir, layerCount);
  });
}

async function load(parts: Readonly<Record<Part, Graft>>, dir: string): Promise<void> {
  const loadFrom = async (from: string): Promise<void> => {
    for (const part of UNION_PARTS) await parts[part].load(join(from, part));
  };
  if (await isUnion(dir)) await throughParts(async (apart) => (await splitUnion(dir, apart), loadFrom(apart)));
  else await loadFrom(dir);
}

/** Runs `f` with a folder of its own for `lora/` and `adapter/`, and clears it away. */
async function throughParts<T>(f: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'graft-mixed-'));
  try {
    return await f(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
