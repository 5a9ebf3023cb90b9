import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { GraftError } from '../kernel/errors.ts';
import { displayPath } from './diagnostic.ts';
import type { Findings } from './diagnostic.ts';
import { mergeConfigs } from './merge.ts';
import { withoutEntry } from './node.ts';
import type { ConfigNode, MapNode, ScalarNode } from './node.ts';
import { parseYaml } from './parse.ts';
import { readSource } from './source.ts';

/** Files that one config may stand on, itself included. */
const MAX_FILES = 64;

/**
 * Reads a config and everything that it extends, merged.
 *
 * `extends` names a file or a list of files, relative to the file that says so; of a list the later ones win, and the file
 * itself wins over all of them.
 * @returns undefined when a file could not be used; `findings` says why
 * @throws GraftError when the file named by the user cannot be read at all
 */
export async function loadConfig(file: string, findings: Findings): Promise<MapNode | undefined> {
  return new Loader(findings).load(resolve(file), []);
}

class Loader {
  readonly #findings: Findings;
  #files = 0;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** @param chain real paths of the files on the way here, outermost first */
  async load(file: string, chain: readonly string[]): Promise<MapNode | undefined> {
    const source = await readSource(file);
    this.#files += 1;
    this.#findings.reading(source);
    const root = parseYaml(source, this.#findings);
    if (root === undefined) return undefined;
    if (root.kind !== 'map') {
      const empty = root.kind === 'scalar' && root.value === null;
      const what = empty ? 'This file is empty' : `This file holds ${root.kind === 'list' ? 'a list' : 'a single value'}`;
      this.#findings.add(root.span, 'CONFIG_NOT_A_MAPPING', `${what}; a config is a mapping that begins with \`load:\`.`);
      return undefined;
    }
    const own = withoutEntry(root, 'extends');
    const here = [...chain, await realpath(file)];
    let below: MapNode | undefined;
    for (const name of this.#namesOf(root.entries.get('extends')?.node)) {
      const base = await this.#loadBase(name, here);
      if (base !== undefined) below = below === undefined ? base : mergeConfigs(below, base);
    }
    return below === undefined ? own : mergeConfigs(below, own);
  }

  async #loadBase(name: ScalarNode, chain: readonly string[]): Promise<MapNode | undefined> {
    const path = resolve(name.span.source.dir, String(name.value));
    const real = await realpath(path).catch(() => path);
    if (chain.includes(real)) {
      const loop = [...chain.slice(chain.indexOf(real)), real].map(displayPath).join(' -> ');
      this.#findings.add(name.span, 'EXTENDS_CYCLE', `These configs extend each other in a circle: ${loop}.`);
      return undefined;
    }
    if (this.#files >= MAX_FILES) {
      this.#findings.add(name.span, 'EXTENDS_TOO_MANY', `A config may stand on at most ${MAX_FILES} files.`);
      return undefined;
    }
    try {
      return await this.load(path, chain);
    } catch (error) {
      if (!GraftError.is(error)) throw error;
      const hint = error.hint === undefined ? '' : ` ${error.hint}`;
      this.#findings.add(name.span, error.code, `${error.message}${hint}`);
      return undefined;
    }
  }

  #namesOf(node: ConfigNode | undefined): readonly ScalarNode[] {
    if (node === undefined) return [];
    const names = node.kind === 'list' ? node.items : [node];
    return names.filter((name): name is ScalarNode => {
      const usable = name.kind === 'scalar' && typeof name.value === 'string' && name.value !== '';
      if (!usable) this.#findings.add(name.span, 'WRONG_TYPE', '`extends` must be the path of a config, or a list of paths.');
      return usable;
    });
  }
}
