import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KernelReport } from 'graft';
import { scaffoldPlugin } from '../../core/cli/scaffold.ts';
import { STAGES } from '../../core/kernel/hooks.ts';
import { manifest, write } from '../kernel/support.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
let home: string;
beforeAll(() => void (home = realpathSync(mkdtempSync(join(tmpdir(), 'graft-plugins-')))));
afterAll(() => rmSync(home, { recursive: true }));

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in the test's own folder. */
function run(file: string, ...args: string[]): Promise<Ran> {
  const env = { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST'))), NO_COLOR: '1' };
  return new Promise((resolve) => {
    execFile(process.execPath, [file, ...args], { cwd: home, env, encoding: 'utf8' }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }));
  });
}

const graft = (...args: string[]): Promise<Ran> => run(join(root, 'core/cli/graft.mjs'), ...args);

describe('graft plugins new', () => {
  it('writes a plugin of every stage that compiles, is found, and passes its own test', { timeout: 180_000 }, async () => {
    for (const stage of STAGES) {
      const { dir, files } = await scaffoldPlugin('my-own', stage, join(home, 'plugins'));
      expect(dir).toBe(join(home, `plugins/${stage}-my-own`));
      expect([...files].sort()).toEqual(['README.md', 'index.ts', 'my-own.test.ts', 'my-own.ts', 'package.json']);
      for (const file of files) expect(readFileSync(join(dir, file), 'utf8')).not.toMatch(/__\w*name__/i);
    }
    // A folder of one's own knows vitest and the types from the repository.
    symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'));
    const extended = { extends: join(root, 'tsconfig.json'), compilerOptions: { paths: { graft: [join(root, 'core/index.ts')] } }, include: ['plugins'], exclude: [] };
    writeFileSync(join(home, 'tsconfig.json'), JSON.stringify(extended));
    const compiled = await run(join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', home);
    expect(compiled.stdout).toBe('');
    const tested = await run(join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--config', join(root, 'test/vitest.config.ts'), '--root', '.', '--reporter', 'json');
    expect(JSON.parse(tested.stdout)).toMatchObject({ success: true, numFailedTests: 0, numTotalTestSuites: 10 });
    const { slots } = JSON.parse((await graft('plugins', '--json')).stdout) as KernelReport;
    for (const stage of STAGES) expect(slots.find(({ id }) => id === `${stage}:my-own`)).toMatchObject({ state: 'active' });
  });

  it.each([
    ['My_Own', 'inject', 'PLUGIN_NAME', '"My_Own" cannot be the name of a plugin.', 'Use lower-case letters, digits and single dashes, beginning with a letter, such as my-strategy.'],
    ['x', 'deploy', 'STAGE_UNKNOWN', 'There is no stage deploy.', 'There are: load, preprocess, inject, train, serve.'],
    ['taken', 'inject', 'FOLDER_EXISTS', 'DIR/inject-taken is there already.', 'Choose another name, or another --dir.'],
  ])('refuses the name %s for the stage %s', async (name, stage, code, message, hint) => {
    const dir = join(home, 'refused');
    write(join(dir, 'inject-taken'), { 'note.txt': '' });
    await expect(scaffoldPlugin(name, stage, dir)).rejects.toMatchObject({ code, message: message.replace('DIR', dir), hint });
    expect(readdirSync(dir)).toEqual(['inject-taken']);
  });

  it('says what it wrote, or in a sentence why it did not', async () => {
    const { code, stdout } = await graft('plugins', 'new', 'said', '--stage', 'serve', '--dir', 'elsewhere');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Wrote elsewhere\/serve-said: package\.json, .*index\.ts.*\.\nIts README\.md says how to use it and how to run its test\.\n$/);
    expect(await graft('plugins', 'new', 'said', '--stage', 'serve', '--dir', 'elsewhere')).toEqual({ code: 2, stdout: '', stderr: `error ${home}/elsewhere/serve-said is there already.\nChoose another name, or another --dir.\n` });
  });
});

describe('graft plugins', () => {
  const broken = (): void => {
    write(join(home, 'more/broken'), { 'package.json': manifest('broken', { stage: 'train' }), 'index.ts': 'const;' });
    write(join(home, 'more/alien'), { 'package.json': manifest('alien', { api: '^7.0.0' }), 'index.ts': '' });
  };

  it('prints a line a plugin, with the reason of one that does not run, and what was skipped', async () => {
    broken();
    const { code, stdout, stderr } = await graft('plugins', '--plugins', 'more');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^plugin +version +generation +state +reason\n/);
    expect(stdout).toMatch(/^inject:lora +\d+\.\d+\.\d+ +[0-9a-f]{12} +active$/m);
    expect(stdout).toMatch(new RegExp(`^train:broken +0\\.1\\.0 +- +failed +train:broken does not build: ${home}/more/broken/index\\.ts:1:6: `, 'm'));
    expect(stdout).toContain(`skipped\n  ${home}/more/alien/package.json: graft-alien is written for plugin API ^7.0.0, and this is 1.0.0.`);
  });

  it('explains each plugin: who needs it, its times, what it holds open', async () => {
    const { code, stdout } = await graft('plugins', 'explain');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^plugin API 1\.0\.0\n\n/);
    expect(stdout).toMatch(/^inject:mixed {2}active$/m);
    expect(stdout).toMatch(/^ {2}consumes {3}inject:lora, inject:adapter$/m);
    expect(stdout).toMatch(/^ {2}serves {5}generation 1 \([0-9a-f]{12}\) since .*Z: build [\d.]+ ms, evaluate [\d.]+ ms, setup [\d.]+ ms; 0 in use$/m);
    expect(stdout).toMatch(/^ {2}holds {6}inject:lora generation 1, inject:adapter generation 1, injection container$/m);
    expect(stdout).toMatch(/^inject:lora {2}active\n(?: {2}.*\n)* {2}consumed by inject:mixed$/m);
  });

  it('names the plugins there are when asked for another', async () => {
    const { code, stderr } = await graft('plugins', 'explain', 'inject:lorra');
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error There is no plugin inject:lorra\.\nThere are: .*inject:lora/);
  });
});
