import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as graft from 'graft';
import type { Kernel, KernelEvent, KernelOptions, Logger, SlotReport } from 'graft';
import * as typebox from 'typebox';
import { afterEach } from 'vitest';
import { createKernel } from '../../core/kernel/kernel.ts';
import { API_VERSION } from '../../core/kernel/manifest.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Keeps what is logged. */
export function memoryLog(lines: LogLine[] = [], own: Readonly<Record<string, unknown>> = {}): Logger & { readonly lines: LogLine[] } {
  const at = (level: LogLine['level']) => (message: string, fields: Readonly<Record<string, unknown>> = {}) => void lines.push({ level, message, fields: { ...own, ...fields } });
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: (fields) => memoryLog(lines, { ...own, ...fields }) };
}

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** An empty folder that goes when the test ends. */
export function tempDir(): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'graft-kernel-')));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export type Files = Readonly<Record<string, string>>;

/** Writes files under a folder, making folders as needed. */
export function write(dir: string, files: Files): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
}

/** A package.json; `graft` is laid over a manifest of `inject:<name>`. A key given as undefined is left out. */
export function manifest(name: string, graftKeys: Readonly<Record<string, unknown>> = {}, packageKeys: Readonly<Record<string, unknown>> = {}): string {
  const stage = graftKeys['provides'] === undefined ? { stage: 'inject' } : {};
  return JSON.stringify({ name: `graft-${name}`, version: '0.1.0', type: 'module', main: './index.ts', ...packageKeys, graft: { api: '^1.0.0', ...stage, name, consumes: [], swap: 'live', ...graftKeys } });
}

/** The source of an inject plugin whose graft's name is `says`. */
export function injecting(says: string, setup = ''): string {
  return `
import { definePlugin, Type } from 'graft';
export default definePlugin({
  stage: 'inject',
  config: Type.Object({ r: Type.Integer({ default: 8 }) }),
  setup: async ({ scope, log, generation, container, needs }) => {
    ${setup}
    return { inject: async () => ({ name: ${JSON.stringify(says)}, trainables: [], save: async () => [], load: async () => {}, remove: () => {} }) };
  },
});
`;
}

/** The source of a plugin that provides a text under a token, made of those that it needs. */
export function providing(token: string, text: string, needs: readonly string[] = [], setup = ''): string {
  return `
import { definePlugin, token, Type } from 'graft';
export default definePlugin({
  provides: token<string>(${JSON.stringify(token)}),
  config: Type.Object({}),
  needs: { ${needs.map((name) => `${JSON.stringify(name)}: token<string>(${JSON.stringify(name)})`).join(', ')} },
  setup: ({ needs, scope, generation }) => {
    ${setup}
    return [${JSON.stringify(text)}, ...Object.values(needs)].join(' < ');
  },
});
`;
}

/** Files of a provider's folder. */
export function provider(token: string, text: string, needs: readonly string[] = [], setup = ''): Files {
  return { 'package.json': manifest(token, { provides: token, consumes: needs }), 'index.ts': providing(token, text, needs, setup) };
}

export interface Opened {
  readonly kernel: Kernel;
  readonly log: ReturnType<typeof memoryLog>;
  readonly events: KernelEvent[];
  slot(id: string): SlotReport;
  /** What the inject plugin of this name answers now. */
  says(name: string): Promise<string>;
}

/** A kernel over folders, disposed when the test ends. */
export async function open(dirs: string | readonly string[], options: Partial<KernelOptions> = {}): Promise<Opened> {
  const log = memoryLog();
  const kernel = await createKernel({ dirs: typeof dirs === 'string' ? [dirs] : dirs, hostModules: { graft, typebox }, apiVersion: API_VERSION, log, ...options });
  cleanups.push(() => kernel.dispose());
  const events: KernelEvent[] = [];
  kernel.on((event) => void events.push(event));
  const slot = (id: string): SlotReport => {
    const found = kernel.explain().slots.find((each) => each.id === id);
    if (found === undefined) throw new Error(`There is no slot ${id}; there are ${kernel.explain().slots.map((each) => each.id).join(', ')}.`);
    return found;
  };
  const says = async (name: string): Promise<string> => {
    const lease = kernel.lease('inject', name);
    try {
      return (await lease.value.inject({} as never)).name;
    } finally {
      lease.release();
    }
  };
  return { kernel, log, events, slot, says };
}

/** Resolves with the first event that fits, from now on. */
export function next(kernel: Kernel, fits: (event: KernelEvent) => boolean): Promise<KernelEvent> {
  return new Promise((resolve) => {
    const off = kernel.on((event) => {
      if (!fits(event)) return;
      void off();
      resolve(event);
    });
  });
}

/** What a rejected promise or a throwing call was rejected with. */
export async function thrownBy(act: () => unknown): Promise<{ readonly code?: string; readonly message: string; readonly hint?: string }> {
  try {
    await act();
  } catch (error) {
    return error as Error;
  }
  throw new Error('Nothing was thrown.');
}
