import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { BuildCache, KeptBuild } from '../contracts/index.ts';
import { KeptTexts, sha256 } from './kept-texts.mjs';

const MOST_BYTES = 64 * 2 ** 20;
const BUILDER = fileURLToPath(new URL('../kernel/builder.ts', import.meta.url));
const require = createRequire(import.meta.url);

/** Builds of plugins on disk, the last one of each plugin by each version of what builds them. */
export class KeptBuilds implements BuildCache {
  readonly #texts: KeptTexts;
  readonly #builtBy: string;

  constructor(dir: string) {
    this.#texts = new KeptTexts(dir, MOST_BYTES);
    const tools = ['esbuild', '@swc/core'].map((name) => (require(`${name}/package.json`) as { readonly version: string }).version);
    this.#builtBy = [sha256(readFileSync(BUILDER)), ...tools].join(' ');
  }

  read(entry: string): KeptBuild | undefined {
    const text = this.#texts.read(this.#key(entry));
    if (text === undefined) return undefined;
    const cut = text.indexOf('\n');
    return { ...(JSON.parse(text.slice(0, cut)) as Omit<KeptBuild, 'code'>), code: text.slice(cut + 1) };
  }

  write(entry: string, { code, ...rest }: KeptBuild): void {
    this.#texts.write(this.#key(entry), `${JSON.stringify(rest)}\n${code}`);
  }

  #key(entry: string): string {
    return `${entry}\0${this.#builtBy}`;
  }
}
