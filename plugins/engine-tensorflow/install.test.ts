import { execFile } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Engine } from 'graft';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { graft as run, type Finished } from '../../test/support/command.ts';
import { describeTensorflow } from '../../test/support/tensorflow-suite.ts';
import { tensorflow } from './engine.ts';
import { installedHome } from './home.ts';
import { installer } from './install.ts';

const root = mkdtempSync(join(tmpdir(), 'graft-install-'));
const cache = join(root, 'cache');
afterAll(() => rmSync(root, { recursive: true }));

/** The wheel where pip has it, or the reason why there is none. */
async function download(): Promise<{ readonly wheel: string } | { readonly reason: string }> {
  if (process.platform !== 'linux') return { reason: `Graft builds it on Linux only, and this is ${process.platform}` };
  const folder = join(root, 'wheel');
  try {
    await promisify(execFile)('pip', ['download', '--quiet', '--no-deps', '--only-binary=:all:', '--retries=0', '--timeout=15', '-d', folder, 'tensorflow-cpu'], { timeout: 120_000 });
    return { wheel: join(folder, readdirSync(folder)[0]!) };
  } catch {
    return { reason: 'pip has no wheel of tensorflow-cpu here' };
  }
}

const downloaded = await download();
if ('reason' in downloaded) process.stderr.write(`The install of engine tensorflow is not tested: ${downloaded.reason}.\n`);

describe.skipIf('reason' in downloaded)(`graft engine install tensorflow${'reason' in downloaded ? ` (${downloaded.reason})` : ''}`, () => {
  const graft = (...args: string[]): Promise<Finished> => run(args, { cwd: root, env: { GRAFT_CACHE: cache } });
  let installed: Finished;

  beforeAll(async () => {
    installed = await graft('engine', 'install', 'tensorflow', '--wheel', (downloaded as { wheel: string }).wheel);
  }, 300_000);

  it('reports what it found and where it is', () => {
    expect(installed).toMatchObject({ code: 0, stderr: expect.stringMatching(/Unpacking tensorflow_cpu.*\n.*Installing @tensorflow\/tfjs-node.*\n.*Compiling.*\n.*Trying it\.\n$/) as string });
    expect(installed.stdout).toMatch(/^ {2}TensorFlow +2\.\d+\.\d+, a build for the CPU, without CUDA and cuDNN$/m);
    expect(installed.stdout).toContain(join(cache, 'engines', 'tensorflow'));
    expect(installed.stdout).toMatch(/^Use it: .*engine: tensorflow/m);
    expect(installed.stdout).toMatch(/^Remove it: +graft engine remove tensorflow$/m);
  });

  it('leaves one folder, without the headers that it was compiled with', () => {
    expect(readdirSync(join(cache, 'engines'))).toEqual(['tensorflow']);
    expect(existsSync(join(cache, 'engines', 'tensorflow', 'tensorflow', 'include'))).toBe(false);
    const lib = join(cache, 'engines', 'tensorflow', 'node_modules', '@tensorflow', 'tfjs-node', 'deps', 'lib');
    expect(lstatSync(join(lib, 'libtensorflow_cc.so.2')).isSymbolicLink()).toBe(true);
  });

  it('is listed', async () => {
    const { stdout } = await graft('engine', 'list', '--json');
    expect(JSON.parse(stdout)).toMatchObject([{ engine: 'tensorflow', dir: join(cache, 'engines', 'tensorflow') }]);
  });

  it('computes what the reference implementations do', async () => {
    const { code, stdout } = await graft('oracles', '--engine', 'tensorflow');
    expect(stdout).toMatch(/^[1-9]\d+ agree, 0 do not, /m);
    expect(code).toBe(0);
  }, 300_000);

  describe('in this process', () => {
    let engine: Engine;
    beforeAll(async () => {
      vi.stubEnv('GRAFT_CACHE', cache);
      engine = await tensorflow([installedHome()]).start('auto');
    });
    afterAll(async () => {
      await engine.dispose();
      vi.unstubAllEnvs();
    });
    it('stays in its place where another install fails', async () => {
      const again = installer.install({ lib: installedHome(), gpu: false }, { emit: () => {}, signal: new AbortController().signal });
      await expect(again).rejects.toMatchObject({ code: 'TENSORFLOW_LIB', message: expect.stringContaining('no headers') as string });
      expect(await installer.installed()).toMatchObject({ dir: installedHome() });
      expect(engine.info.detail).toMatch(/^@tensorflow\/tfjs-node 4\.22\.0 with TensorFlow 2\.\S+ on the CPU/);
    });

    describeTensorflow(() => engine);
  });

  it('is removed whole', async () => {
    expect((await graft('engine', 'remove', 'tensorflow')).stdout).toBe(`Removed ${join(cache, 'engines', 'tensorflow')}.\n`);
    expect(readdirSync(join(cache, 'engines'))).toEqual([]);
    expect(JSON.parse((await graft('engine', 'list', '--json')).stdout)).toEqual([]);
  });
});

describe('graft engine', () => {
  it('names the engines where it is given another', async () => {
    expect(await run(['engine', 'install', 'tensorflw'], { cwd: root, env: { GRAFT_CACHE: cache } })).toMatchObject({ code: 2, stderr: expect.stringMatching(/There is no engine named "tensorflw"\.\nThere are: .*tensorflow/) as string });
  });

  it('refuses an engine that needs no install', async () => {
    expect(await run(['engine', 'remove', 'portable'], { cwd: root, env: { GRAFT_CACHE: cache } })).toMatchObject({ code: 2, stderr: expect.stringContaining('Engine portable has nothing for Graft to install.') as string });
  });
});
