/** `graft_adapter.json`, beside what a graft saved: which plugin made it and with which options, for a folder that no plugin knows by its format. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Entry } from '../config/index.ts';
import { sharableOptions, type SharableOptions } from '../config/strings.ts';
import type { Kernel } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { readJsonFile } from '../tensor/json-file.ts';
import type { InjectPlugin } from './recognize.ts';

export const ORIGIN_FILE = 'graft_adapter.json';

/** What a graft was made by: its options without what is one machine's alone, secrets and paths, of which the names are told. */
export interface GraftOrigin extends SharableOptions {
  /** The name that `use:` says. */
  readonly plugin: string;
}

/** Of a config's inject entries, in their order. */
export function originsOf(entries: readonly Entry[], kernel: Pick<Kernel, 'schema'>): readonly GraftOrigin[] {
  return entries.map(({ use, options }) => ({ plugin: use, ...sharableOptions(options, kernel.schema('inject', use)) }));
}

export async function writeOrigin(dir: string, origin: GraftOrigin): Promise<void> {
  await writeFile(join(dir, ORIGIN_FILE), `${JSON.stringify(origin, null, 2)}\n`);
}

/**
 * The plugin that a folder says it was made by, with the options, which are not checked yet. A plugin that knows its own
 * format is not taken at the file's word: what it did not recognize it would read wrongly.
 * @returns undefined where there is no such file, or such a plugin
 * @throws GraftError `JSON_FILE`, `ADAPTER_ORIGIN` where the file is not one that a run writes, or options are missing from it; `ADAPTER_UNKNOWN` where its plugin is not here
 */
export async function readOrigin(dir: string, plugins: readonly InjectPlugin[]): Promise<{ readonly plugin: InjectPlugin; readonly options: GraftOrigin['options'] } | undefined> {
  const file = join(dir, ORIGIN_FILE);
  const content = await readJsonFile(file);
  if (content === undefined) return undefined;
  const { plugin: name, options, withheld } = content;
  if (typeof name !== 'string' || !isRecord(options) || !isNames(withheld)) {
    throw new GraftError('ADAPTER_ORIGIN', `${file} does not say { "plugin": <name>, "options": { ... }, "withheld": [ ... ] }.`);
  }
  const plugin = plugins.find((each) => each.name === name);
  if (plugin === undefined) {
    throw new GraftError('ADAPTER_UNKNOWN', `${dir} was made by the inject plugin \`${name}\`, and none of that name can be used here.`, {
      hint: `Usable: ${plugins.map((each) => each.name).join(', ')}. Put its folder into plugins/, or list the folder that it is in under plugins: of the config; \`graft plugins explain\` tells why one that is there can't be used.`,
    });
  }
  if (plugin.hook.recognize !== undefined) return undefined;
  if (withheld.length > 0) {
    throw new GraftError('ADAPTER_ORIGIN', `${dir} was made by \`${name}\` with ${withheld.map((each) => `\`${each}\``).join(', ')}, and ${file} does not say with which: secrets and paths are not written into it.`, {
      hint: 'Name the run that made it, or its config, in place of the folder.',
    });
  }
  if (sharableOptions(options, plugin.schema).withheld.length > 0) throw new GraftError('ADAPTER_ORIGIN', `${file} gives an option of \`${name}\` that is a secret or a path, which only a config may.`);
  return { plugin, options };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}
