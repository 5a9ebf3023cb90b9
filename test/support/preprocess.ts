import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Dataset, Logger, PluginDefinition, PreprocessCall, PreprocessHook, RunEvent, Scope, Tokenizer } from 'graft';
import { violations } from '../../core/config/validator.ts';
import { configOf, tinyTokenizer } from './tokenizer.ts';

/** A preprocess plugin at work on files of its own. */
export interface Bench {
  readonly dir: string;
  /** All that was emitted so far. */
  readonly events: RunEvent[];
  /** Writes a file and returns its path. */
  file(name: string, contents: string | Uint8Array): string;
  run(options: Readonly<Record<string, unknown>>, call?: Partial<PreprocessCall<unknown>>): Promise<Dataset>;
  /** Messages of the log events, warnings by default. */
  said(level?: 'info' | 'warn'): readonly string[];
}

const silent: Logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined, child: () => silent };

/**
 * Sets a plugin up in a new folder with a cache of its own. Options are checked and filled in as a config's are.
 * @param hash of the plugin's generation
 */
export function bench(plugin: PluginDefinition, settings: { readonly tokenizer?: Tokenizer; readonly hash?: string; readonly longest?: number } = {}): Bench {
  const dir = mkdtempSync(join(tmpdir(), 'graft-preprocess-'));
  const events: RunEvent[] = [];
  const scope = { signal: new AbortController().signal } as Scope;
  const generation = { plugin: 'preprocess:test', version: '0.1.0', hash: settings.hash ?? 'a'.repeat(64), number: 1 };
  const hook = plugin.setup({ needs: {}, scope, log: silent, container: undefined!, generation }) as PreprocessHook;
  return {
    dir,
    events,
    file: (name, contents) => {
      const path = join(dir, name);
      writeFileSync(path, contents);
      return path;
    },
    run: async (options, call = {}) => {
      const config = structuredClone(options) as Record<string, unknown>;
      const errors = violations(plugin.config, config);
      if (errors.length > 0) throw new Error(`The test's options are wrong: ${JSON.stringify(errors.map((error) => `${error.instancePath} ${error.message}`))}`);
      return hook.preprocess({
        config,
        seed: 42,
        log: silent,
        signal: new AbortController().signal,
        scope,
        baseDir: dir,
        cacheDir: join(dir, 'cache'),
        emit: (event) => void events.push(event),
        tokenizer: settings.tokenizer ?? (await tinyTokenizer()),
        model: { config: configOf(settings.longest ?? 512) },
        input: undefined,
        ...call,
      });
    },
    said: (level = 'warn') => events.flatMap((event) => (event.type === 'log' && event.level === level ? [event.message] : [])),
  };
}

/** The sequences of a side as text, with what is trained on in brackets: `<s>2 + 2 =[ 4</s>]`. */
export function marked(sequences: Dataset['train'], tokenizer: Tokenizer): readonly string[] {
  return sequences.map(({ inputIds, labels }) => {
    const runs: { ids: number[]; trained: boolean }[] = [];
    for (const [i, id] of inputIds.entries()) {
      const trained = labels[i] !== -100;
      if (trained && labels[i] !== id) throw new Error(`Token ${i} is ${id} and its label ${labels[i]}.`);
      if (runs.at(-1)?.trained === trained) runs.at(-1)!.ids.push(id);
      else runs.push({ ids: [id], trained });
    }
    return runs.map(({ ids, trained }) => (trained ? `[${tokenizer.decode(ids, { skipSpecialTokens: false })}]` : tokenizer.decode(ids, { skipSpecialTokens: false }))).join('');
  });
}

/** Pairs as text, the preferred half and then the other, each as `marked` has it. */
export function markedPairs(sequences: Dataset['train'], tokenizer: Tokenizer): readonly (readonly [string, string])[] {
  return sequences.map(({ inputIds, labels, offsets }) => {
    if (offsets.length !== 3) throw new Error(`A pair has two segments, and this has ${offsets.length - 1}.`);
    const half = (start: number, end: number): string => marked([{ inputIds: inputIds.subarray(start, end), labels: labels.subarray(start, end), offsets: Int32Array.of(0, end - start) }], tokenizer)[0]!;
    return [half(0, offsets[1]!), half(offsets[1]!, offsets[2]!)];
  });
}
