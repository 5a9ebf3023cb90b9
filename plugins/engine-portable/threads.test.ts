import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { tf } from 'graft';
import type { Engine } from 'graft';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { describeOps } from '../../test/support/ops-suite.ts';
import { startPortable } from './engine.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** In a process of its own, which ends as any program does: by having nothing left to do. */
const digest = async (threads: number, ...flags: string[]) => {
  const script = `
    const { loadProgram } = await import(${JSON.stringify(new URL('../../core/host/program.mjs', import.meta.url).href)});
    const { digest } = await loadProgram(new URL(${JSON.stringify(new URL('fixtures/digest.ts', import.meta.url).href)}));
    process.stdout.write(JSON.stringify(await digest(${threads})));`;
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, '--input-type=module', '--eval', script], { cwd: root });
  return JSON.parse(stdout) as { detail: string; threads: number; digest: string };
};

it('computes the same bits in every process, and with any number of threads', async () => {
  const runs = [await digest(1), await digest(1), await digest(2), await digest(3)];
  expect(runs.map((run) => run.detail)).toEqual(['wasm simd, 1 thread', 'wasm simd, 1 thread', 'wasm simd, 2 threads', 'wasm simd, 3 threads']);
  expect(new Set(runs.map((run) => run.digest)).size).toBe(1);
});

it('computes in plain JavaScript where Node has no WebAssembly, and says so', async () => {
  expect((await digest(1, '--no-expose-wasm')).detail).toBe('plain JavaScript (wasm did not load: this Node runs without WebAssembly)');
});

describe('with two threads', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startPortable(2);
  });
  afterEach(() => tf.disposeVariables());

  it('leaves the process as it found it', () => {
    expect(engine.info.threads).toBe(2);
    expect(URL.createObjectURL(new Blob(['x']))).toMatch(/^blob:nodedata:/);
    expect(process.listeners('uncaughtException').map(String).join()).not.toContain('ExitStatus');
  });

  it('refuses another number of threads in the same process', async () => {
    await expect(startPortable(1)).rejects.toMatchObject({ code: 'ENGINE_THREADS', message: 'Engine portable was asked for 1 threads, and runs with 2 in this process.' });
    expect((await startPortable('auto')).info.threads).toBe(2);
  });

  describeOps(() => engine);
});
