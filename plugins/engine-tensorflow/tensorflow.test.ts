import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { tf } from 'graft';
import type { Engine } from 'graft';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { describeOps } from '../../test/support/ops-suite.ts';
import { tensorflow } from './engine.ts';
import { installedHome } from './home.ts';
import { probePackages } from './probe.ts';

const require = createRequire(import.meta.url);
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'graft-tensorflow-'));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A package as npm leaves it, of which `index.js` is all that matters here. */
function install(name: string, index: string, files: Readonly<Record<string, string>> = {}, into = root): string {
  const dir = join(into, 'node_modules', name);
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name, version: '4.22.0', main: 'index.js' }));
  for (const [file, text] of Object.entries({ ...files, 'index.js': index })) {
    mkdirSync(dirname(join(dir, file)), { recursive: true });
    writeFileSync(join(dir, file), text);
  }
  return dir;
}

/** What tfjs-node 4.22 does first: look for its addon, and throw this. */
const findAddon = (name: string) => `
  const bindingPath = require('path').join(__dirname, 'lib/napi-v8/tfjs_binding.node');
  if (!require('fs').existsSync(bindingPath)) {
    throw new Error("The Node.js native addon module (tfjs_binding.node) can not be found at path: " + bindingPath + ". \\nPlease run command 'npm rebuild ${name} --build-addon-from-source' to rebuild the native addon module.");
  }
  const bindings = require(bindingPath);
`;

/** tfjs with its cpu kernels under the name that the native backend has. */
const standIn = `
  const tf = require(${JSON.stringify(require.resolve('@tensorflow/tfjs'))});
  const cpu = tf.findBackend('cpu');
  cpu.firstUse = false;
  tf.registerBackend('tensorflow', () => cpu, 3);
  for (const kernel of tf.getKernelsForBackend('cpu')) tf.registerKernel({ ...kernel, backendName: 'tensorflow' });
  tf.setBackend('tensorflow');
  module.exports = tf;
`;

const NODE = '@tensorflow/tfjs-node';
const GPU = '@tensorflow/tfjs-node-gpu';

describe('probing TensorFlow', () => {
  it('says that it is not installed, and how to install it', async () => {
    expect((await probePackages([root], 'linux-x64')).probe).toEqual({
      state: 'absent',
      detail: 'not installed',
      remedy: 'Run `graft engine install tensorflow`, which builds it on a current TensorFlow, or `npm install @tensorflow/tfjs-node`, which downloads TensorFlow 2.9.',
    });
  });

  it('says that there is no library for this kind of machine', async () => {
    expect((await probePackages([root], 'freebsd-x64')).probe).toMatchObject({ state: 'unsupported', detail: expect.stringContaining('for freebsd-x64') as string });
  });

  it('offers the CPU package where only the GPU one is unsupported', async () => {
    expect(await probePackages([root], 'darwin-arm64')).toMatchObject({ package: NODE, probe: { state: 'absent' } });
  });

  it('finds a package installed without its addon', async () => {
    install(NODE, findAddon(NODE));
    expect((await probePackages([root])).probe).toEqual({
      state: 'no-native-library',
      detail: '@tensorflow/tfjs-node is installed without its native addon, which its install script downloads',
      remedy: 'Run `graft engine install tensorflow`, or `npm rebuild @tensorflow/tfjs-node` with access to the network.',
    });
  });

  it('finds an addon without the library that it links to', async () => {
    install(GPU, `throw Object.assign(new Error('libtensorflow.so.2: cannot open shared object file: No such file or directory'), { code: 'ERR_DLOPEN_FAILED' });`);
    expect((await probePackages([root])).probe).toMatchObject({ state: 'no-native-library', detail: '@tensorflow/tfjs-node-gpu cannot load libtensorflow.so.2' });
  });

  it('finds an addon that is no library of this machine', async () => {
    install(NODE, findAddon(NODE), { 'lib/napi-v8/tfjs_binding.node': 'MZ of another system' });
    const { probe } = await probePackages([root]);
    expect(probe.state).toBe('broken');
    expect(probe.detail).toMatch(/^the native addon of @tensorflow\/tfjs-node is not made for this machine or this Node \(Error: .*tfjs_binding\.node/);
  });

  it('finds a package that loads and then calls what this Node has removed', async () => {
    install(NODE, `${standIn}\n  tf.softmax = () => { const util_1 = {}; return (0, util_1.isNullOrUndefined)(1); };`.replace('module.exports = tf;', 'module.exports = { ...tf, backend: tf.backend };').replace('tf.softmax =', 'module.exports.softmax ='));
    const { probe } = await probePackages([root]);
    expect(probe).toMatchObject({ state: 'broken', remedy: 'Use Node 20, which it supports, or engine portable.' });
    expect(probe.detail).toContain(`@tensorflow/tfjs-node does not run on Node ${process.versions.node} (TypeError: (0 , util_1.isNullOrUndefined) is not a function)`);
  });

  it('gives a newer Node back what tfjs-node calls and it has removed', async () => {
    const preload = join(root, 'newer.cjs');
    writeFileSync(preload, "delete require('node:util').isNullOrUndefined;");
    install(NODE, `${standIn}\n  module.exports = { ...tf, backend: tf.backend, softmax: (x) => ((0, require('util').isNullOrUndefined)(x) ? x : tf.softmax(x)) };`);
    vi.stubEnv('NODE_OPTIONS', `--require ${preload}`);
    expect((await probePackages([root])).probe).toMatchObject({ state: 'available' });
    vi.unstubAllEnvs();
  });

  it('takes the first folder that has one which runs', async () => {
    const [first, second] = [join(root, 'first'), join(root, 'second')];
    install(NODE, findAddon(NODE), {}, first);
    const dir = install(NODE, standIn, {}, second);
    expect(await probePackages([first, second])).toMatchObject({ dir, probe: { state: 'available' } });
    expect((await probePackages([first])).probe).toMatchObject({ state: 'no-native-library' });
  });

  it('takes one that computes on a GPU before one that does not', async () => {
    const [first, second] = [join(root, 'first'), join(root, 'second')];
    install(NODE, standIn, {}, first);
    const dir = install(GPU, `${standIn}\n  cpu.isUsingGpuDevice = true;`, {}, second);
    expect(await probePackages([first, second])).toMatchObject({ dir, probe: { state: 'available', device: 'gpu' } });
  });

  it('says how to mend what Graft has installed', async () => {
    vi.stubEnv('GRAFT_CACHE', root);
    install(NODE, findAddon(NODE), {}, installedHome());
    expect((await probePackages([installedHome()])).probe).toMatchObject({ state: 'no-native-library', remedy: 'Install it again by `graft engine install tensorflow`, or `graft engine remove tensorflow`.' });
    vi.unstubAllEnvs();
  });

  it('survives a library that takes the process down', async () => {
    install(NODE, 'process.abort();');
    expect((await probePackages([root])).probe).toMatchObject({ state: 'broken', detail: 'loading @tensorflow/tfjs-node crashed the process (SIGABRT)' });
  });

  it('takes the CPU package where the GPU one is broken', async () => {
    install(GPU, findAddon(GPU));
    install(NODE, standIn);
    expect(await probePackages([root])).toMatchObject({ package: NODE, probe: { state: 'available', device: 'cpu' } });
  });

  it('reports a present and broken package rather than an absent one', async () => {
    install(NODE, findAddon(NODE));
    expect(await probePackages([root])).toMatchObject({ package: NODE, probe: { state: 'no-native-library' } });
  });
});

describe('starting TensorFlow', () => {
  it('refuses with the reason and the remedy where it cannot run', async () => {
    install(NODE, findAddon(NODE));
    await expect(tensorflow([root]).start('auto')).rejects.toMatchObject({
      code: 'ENGINE_UNAVAILABLE',
      message: 'Engine tensorflow cannot run here: @tensorflow/tfjs-node is installed without its native addon, which its install script downloads.',
      hint: expect.stringContaining('npm rebuild @tensorflow/tfjs-node') as string,
    });
  });

  describe('with its backend played by tfjs on the cpu', () => {
    let engine: Engine;
    let home: string;
    beforeAll(async () => {
      home = mkdtempSync(join(tmpdir(), 'graft-tensorflow-'));
      install(NODE, standIn, {}, home);
      engine = await tensorflow([home]).start(1);
    });
    afterAll(async () => {
      await engine.dispose();
      rmSync(home, { recursive: true });
    });
    afterEach(() => tf.disposeVariables());

    it('sets its backend', () => {
      expect(tf.getBackend()).toBe('tensorflow');
      expect(engine.info).toMatchObject({ name: 'tensorflow', device: 'cpu', threads: 1 });
    });
    describeOps(() => engine);
  });
});
