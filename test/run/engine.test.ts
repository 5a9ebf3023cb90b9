import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as typebox from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Kernel } from '../../core/index.ts';
import * as graft from '../../core/index.ts';
import { createKernel } from '../../core/kernel/kernel.ts';
import { API_VERSION } from '../../core/kernel/manifest.ts';
import { chooseEngine, engineNames, probeEngines, startEngine } from '../../core/run/engine.ts';

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };

let dir: string;
let kernel: Kernel;

/** Writes an engine plugin whose provider is this expression. */
function engine(name: string, provider: string): void {
  mkdirSync(join(dir, name), { recursive: true });
  writeFileSync(join(dir, name, 'package.json'), JSON.stringify({ name: `engine-${name}`, version: '1.0.0', main: './index.mjs', graft: { api: '^1.0.0', provides: `engine:${name}`, name, consumes: [] } }));
  writeFileSync(join(dir, name, 'index.mjs'), `import { definePlugin, token, Type } from 'graft';\nexport default definePlugin({ provides: token('engine:${name}'), config: Type.Object({}), setup: () => (${provider}) });\n`);
}

const available = (name: string, preference: number) =>
  engine(name, `{
    preference: () => ${preference},
    probe: async () => ({ state: 'available', detail: '${name} works', device: 'cpu' }),
    start: async ({ threads }) => ({ info: { name: '${name}', detail: 'x', device: 'cpu', threads }, dispose: async () => { globalThis.disposed = (globalThis.disposed ?? 0) + 1; } }),
  }`);
const lacking = (name: string, state: string) => engine(name, `{ preference: () => 50, probe: async () => ({ state: '${state}', detail: 'libfoo.so is missing', remedy: 'Install foo.' }), start: async () => { throw new Error('no'); } }`);

async function open(): Promise<void> {
  kernel = await createKernel({ dirs: [dir], hostModules: { graft, typebox }, apiVersion: API_VERSION, log: silent });
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'graft-engines-'));
  Reflect.deleteProperty(globalThis, 'disposed');
});
afterEach(async () => {
  await kernel.dispose();
  rmSync(dir, { recursive: true });
});

describe('choosing an engine', () => {
  it('takes the most preferred of those that can run, and says what it found', async () => {
    available('slow', 1);
    available('fast', 10);
    lacking('gpu', 'no-native-library');
    await open();
    expect([...engineNames(kernel)].sort()).toEqual(['fast', 'gpu', 'slow']);
    expect(await chooseEngine(kernel, { use: 'auto' })).toMatchObject({
      name: 'fast',
      reason: 'fast: fast works; gpu: no-native-library (libfoo.so is missing); slow: slow works',
    });
  });

  it('takes the one that is named, preferred or not', async () => {
    available('slow', 1);
    available('fast', 10);
    await open();
    expect(await chooseEngine(kernel, { use: 'slow' })).toMatchObject({ name: 'slow', reason: 'slow: slow works, as asked' });
  });

  it('says why a named engine cannot run and what to do about it', async () => {
    available('slow', 1);
    lacking('gpu', 'no-native-library');
    await open();
    await expect(chooseEngine(kernel, { use: 'gpu' })).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE', message: 'Engine gpu cannot run here (no-native-library): libfoo.so is missing.', hint: 'Install foo.', option: ['engine'] });
  });

  it('names the nearest engine for an unknown one', async () => {
    available('portable', 1);
    await open();
    await expect(chooseEngine(kernel, { use: 'portabel' })).rejects.toMatchObject({ code: 'ENGINE_UNKNOWN', message: 'There is no engine named "portabel".', hint: 'Did you mean portable? There are: auto, portable.' });
  });

  it('lists what each engine lacks when none can run', async () => {
    lacking('gpu', 'absent');
    engine('bad', `{ preference: () => 5, probe: async () => { throw new Error('probing blew up'); }, start: async () => {} }`);
    await open();
    await expect(chooseEngine(kernel, { use: 'auto' })).rejects.toMatchObject({
      code: 'NO_ENGINE',
      message: 'No engine can run on this machine: gpu: absent (libfoo.so is missing); bad: broken (probing blew up).',
    });
  });

  it('takes a plugin that fails to answer as a broken engine', async () => {
    engine('bad', `{ preference: () => 5, probe: async () => { throw new Error('probing blew up'); }, start: async () => {} }`);
    await open();
    expect(await probeEngines(kernel)).toMatchObject([{ name: 'bad', preference: 0, probe: { state: 'broken', detail: 'probing blew up' } }]);
  });
});

describe('starting an engine', () => {
  it('is shared by all that ask in one process, and ends with the last', async () => {
    available('fast', 10);
    await open();
    const first = await startEngine(kernel, { use: 'auto', threads: 3 }, silent);
    const second = await startEngine(kernel, { use: 'fast', threads: 3 }, silent);
    expect(second.engine).toBe(first.engine);
    expect(first.engine.info.threads).toBe(3);
    expect(first.generation.plugin).toBe('engine:fast');
    await first.dispose();
    await first.dispose();
    expect(globalThis).not.toHaveProperty('disposed');
    await second.dispose();
    expect(globalThis).toHaveProperty('disposed', 1);
  });

  it('refuses a second engine beside the one that runs', async () => {
    available('fast', 10);
    available('slow', 1);
    await open();
    const running = await startEngine(kernel, { use: 'fast', threads: 'auto' }, silent);
    await expect(startEngine(kernel, { use: 'slow', threads: 'auto' }, silent)).rejects.toMatchObject({ code: 'ENGINE_RUNNING', message: 'Engine slow was asked for, and engine fast runs in this process.' });
    await running.dispose();
    const next = await startEngine(kernel, { use: 'slow', threads: 'auto' }, silent);
    expect(next.engine.info.name).toBe('slow');
    await next.dispose();
  });

  it('says that an engine did not start, and lets another be tried', async () => {
    engine('fickle', `{ preference: () => 50, probe: async () => ({ state: 'available', detail: 'so it says', device: 'gpu' }), start: async () => { throw new Error('out of memory'); } }`);
    available('slow', 1);
    await open();
    await expect(startEngine(kernel, { use: 'auto', threads: 'auto' }, silent)).rejects.toMatchObject({ code: 'ENGINE_START', message: 'Engine fickle did not start: out of memory.' });
    const next = await startEngine(kernel, { use: 'slow', threads: 'auto' }, silent);
    await next.dispose();
  });
});
