/** `graft_adapter.json`, beside what a graft saved: which plugin made it and with which options, for a folder that no plugin knows by its format. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Entry } from '../config/index.ts';
import { sharableOptions } from '../config/strings.ts';
import type { Kernel } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { readJsonFile } from '../tensor/json-file.ts';
import type { InjectPlugin } from './recognize.ts';

export const ORIGIN_FILE = 'graft_adapter.json';

/** What a graft was made by. */
export interface GraftOrigin {
  /** The name that `use:` says. */
  readonly plugin: string;
  /** Without what is one machine's alone: secrets and paths. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Of a config's inject entries, in their order. */
export function originsOf(entries: readonly Entry[], kernel: Pick<Kernel, 'schema'>): readonly GraftOrigin[] {
  return entries.map(({ use, options }) => ({ plugin: use, options: sharableOptions(options, kernel.schema('inject', use) ?? {}) }));
}

export async function writeOrigin(dir: string, origin: GraftOrigin): Promise<void> {
  await writeFile(join(dir, ORIGIN_FILE), `${JSON.stringify(origin, null, 2)}\n`);
}

/**
 * The plugin that a folder says it was made by, with the options, which are not checked yet. A plugin that knows its own
 * format is not taken at the file's word: what it did not recognize it would read wrongly.
 * @returns undefined where there is no such file, or such a plugin
 * @throws GraftError `JSON_FILE`, `ADAPTER_ORIGIN` where the file is not one that a run writes; `ADAPTER_UNKNOWN` where its plugin is not here
 */
export async function readOrigin(dir: string, plugins: readonly InjectPlugin[]): Promise<{ readonly plugin: InjectPlugin; readonly options: GraftOrigin['options'] } | undefined> {
  const file = join(dir, ORIGIN_FILE);
  const content = await readJsonFile(file);
  if (content === undefined) return undefined;
  const { plugin: name, options } = content;
  if (typeof name !== 'string' || typeof options !== 'object' || options === null || Array.isArray(options)) throw new GraftError('ADAPTER_ORIGIN', `${file} does not say { "plugin": <name>, "options": { ... } }.`);
  const plugin = plugins.find((each) => each.name === name);
  if (plugin === undefined) {
    throw new GraftError('ADAPTER_UNKNOWN', `${dir} was made by the inject plugin \`${name}\`, and none of that name can be used here.`, {
      hint: `Usable: ${plugins.map((each) => each.name).join(', ')}. Put its folder into plugins/, or list the folder that it is in under plugins: of the config; \`graft plugins explain\` tells why one that is there can't be used.`,
    });
  }
  if (plugin.hook.recognize !== undefined) return undefined;
  if (!isDeepStrictEqual(sharableOptions(options, plugin.schema), options)) throw new GraftError('ADAPTER_ORIGIN', `${file} gives an option of \`${name}\` that is a secret or a path, which only a config may.`);
  return { plugin, options: options as GraftOrigin['options'] };
}
