/** native/build.mjs on machines that lack something, with a stand-in for node-gyp where a build would be long. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ADDON } from './binding.ts';

const NATIVE = join(import.meta.dirname, 'native');
const BUILT = existsSync(ADDON);

let root: string;
let native: string;
let path: string;

/** A copy of the sources and a PATH with Node alone. */
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'graft build '));
  native = join(root, 'native');
  path = join(root, 'bin');
  cpSync(NATIVE, native, { recursive: true, filter: (source) => source !== join(NATIVE, 'build') });
  symlinkSync(realpathSync(join(import.meta.dirname, '../../node_modules')), join(root, 'node_modules'));
  mkdirSync(path);
  symlinkSync(process.execPath, join(path, 'node'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const found = (command: string): string | undefined => {
  try {
    return execFileSync('sh', ['-c', `command -v ${command}`], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
};
/** The interpreter itself: what is on the PATH may be a script that looks for it there. */
const python = found('python3') === undefined ? undefined : execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
const tools: Readonly<Record<string, string | undefined>> = { python3: python, make: found('make'), sh: found('sh') };

function give(...names: string[]): void {
  for (const name of names) symlinkSync(tools[name]!, join(path, name));
}

function script(name: string, text: string): string {
  const file = join(root, name);
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return file;
}

/** Stands in for node-gyp: counts its calls, and makes an addon that loads. */
const fakeGyp = (before = ''): string =>
  script('gyp.cjs', `
    const fs = require('node:fs');
    fs.appendFileSync(${JSON.stringify(join(root, 'calls'))}, process.argv.slice(2).join(' ') + '\\n');
    ${before}
    fs.mkdirSync('build/Release', { recursive: true });
    fs.copyFileSync(${JSON.stringify(ADDON)}, 'build/Release/graft_native.node');`);

const calls = (): number => (existsSync(join(root, 'calls')) ? readFileSync(join(root, 'calls'), 'utf8').trim().split('\n').length : 0);

async function build(env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(native, 'build.mjs')], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: path, HOME: root, npm_lifecycle_event: 'postinstall', ...env } });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

const addon = (): string => join(native, 'build/Release/graft_native.node');
const stamp = (): string => join(native, 'build/Release/sources.sha256');
const said = (reason: string): string => `graft: the native engine was not built: ${reason}.
graft: everything works without it, on the portable engine, which is several times slower. With a C++ compiler, make and Python 3
graft: installed, \`npm run build:native\` builds it. \`npx graft doctor\` shows the engines.
`;

describe('an install on a machine', () => {
  it.each([
    ['without Python', [], 'Python 3 was not found'],
    ['without make', ['python3'], 'make was not found'],
    ['without a compiler', ['python3', 'make', 'sh'], 'no C++ compiler was found'],
  ])('%s goes on and says what is missing', async (_, given, reason) => {
    if (given.some((name) => tools[name] === undefined)) return;
    give(...given);
    expect(await build()).toMatchObject({ code: 0, stderr: said(reason) });
    expect(readdirSync(join(native, 'build'))).toEqual([]);
  });

  it('whose compiler fails goes on and shows what it said', async () => {
    if (tools['make'] === undefined || python === undefined) return;
    script('bin/old-cxx', '#!/bin/sh\necho "error: this compiler is too old" >&2\nexit 1\n');
    const { code, stderr } = await build({ CXX: 'old-cxx', PATH: `${path}:${process.env['PATH']}` });
    expect(code).toBe(0);
    expect(stderr).toContain('graft: the native engine was not built: the build failed\nerror: this compiler is too old\n');
  });

  it('without Node\'s headers and without a network goes on and says so', async () => {
    const gyp = script('gyp.cjs', 'console.error("gyp ERR! stack FetchError: request to https://nodejs.org/download/release/v20/node-v20-headers.tar.gz failed, reason: getaddrinfo ENOTFOUND nodejs.org"); process.exit(1);');
    expect(await build({ npm_config_node_gyp: gyp })).toMatchObject({
      code: 0,
      stderr: said('Node\'s headers are not on this machine and could not be downloaded (npm_config_nodedir may name the folder that has include/node)'),
    });
  });

  it('that is told to leave it out does', async () => {
    expect(await build({ GRAFT_SKIP_NATIVE: '1', npm_config_node_gyp: fakeGyp() })).toEqual({ code: 0, stdout: '', stderr: said('GRAFT_SKIP_NATIVE is set') });
    expect(calls()).toBe(0);
  });

  it('fails nobody but the one who asked for the build', async () => {
    const gyp = script('gyp.cjs', 'process.exit(1);');
    expect((await build({ npm_config_node_gyp: gyp })).code).toBe(0);
    expect((await build({ npm_config_node_gyp: gyp, npm_lifecycle_event: 'build:native' })).code).toBe(1);
  });
});

describe('what is built', () => {
  it('that does not load is not put into place', async () => {
    const gyp = script('gyp.cjs', 'const fs = require("node:fs"); fs.mkdirSync("build/Release", { recursive: true }); fs.writeFileSync("build/Release/graft_native.node", "no library");');
    const { code, stderr } = await build({ npm_config_node_gyp: gyp });
    expect([code, stderr]).toEqual([0, expect.stringContaining('not built: what was built does not load: ')]);
    expect([existsSync(addon()), existsSync(stamp())]).toEqual([false, false]);
  });

  describe.skipIf(!BUILT)('(with an addon to copy)', () => {
    it('is built once, and again when a source changes, goes missing, or it no longer loads', async () => {
      const env = { npm_config_node_gyp: fakeGyp() };
      expect((await build(env)).stdout).toMatch(/^graft: building the native engine, which takes about a minute .*\ngraft: built the native engine in \d+ s\n$/);
      expect(await build(env)).toEqual({ code: 0, stdout: '', stderr: '' });
      expect(calls()).toBe(1);
      writeFileSync(join(native, 'isa/isa.h'), '// changed\n');
      await build(env);
      expect(calls()).toBe(2);
      writeFileSync(addon(), 'of another machine');
      await build(env);
      expect(calls()).toBe(3);
      rmSync(stamp());
      await build(env);
      expect(calls()).toBe(4);
    });

    it('leaves nothing of other sources where it fails', async () => {
      await build({ npm_config_node_gyp: fakeGyp() });
      writeFileSync(join(native, 'isa/isa.h'), '// changed\n');
      await build({ npm_config_node_gyp: script('broken.cjs', 'process.exit(1);') });
      expect(existsSync(addon())).toBe(false);
    });

    it('does not look finished when it was stopped, whenever that was', async () => {
      const gyp = fakeGyp('process.kill(process.ppid, "SIGKILL");');
      await build({ npm_config_node_gyp: gyp });
      expect([existsSync(addon()), existsSync(stamp())]).toEqual([false, false]);
      const [left] = readdirSync(join(native, 'build'));
      expect(left).toMatch(/^stage-/);
      const long = new Date(Date.now() - 2 * 60 * 60_000);
      utimesSync(join(native, 'build', left!), long, long);
      await build({ npm_config_node_gyp: fakeGyp() });
      expect(readdirSync(join(native, 'build'))).toEqual(['Release']);
    });

    it('comes out whole when two builds run at once', async () => {
      const env = { npm_config_node_gyp: fakeGyp('const end = Date.now() + 300; while (Date.now() < end);') };
      const both = await Promise.all([build(env), build(env)]);
      expect(both.map(({ code, stderr }) => [code, stderr])).toEqual([[0, ''], [0, '']]);
      expect(readFileSync(addon()).equals(readFileSync(ADDON))).toBe(true);
      expect(await build(env)).toEqual({ code: 0, stdout: '', stderr: '' });
    });

    it('needs no download where Node\'s headers lie beside Node or are named', async () => {
      const env = { npm_config_node_gyp: fakeGyp('fs.appendFileSync(process.env.SEEN, String(process.env.npm_config_nodedir));'), SEEN: join(root, 'seen') };
      await build({ ...env, npm_config_nodedir: '/somewhere' });
      expect(readFileSync(join(root, 'seen'), 'utf8')).toBe('/somewhere');
      expect(readFileSync(join(root, 'calls'), 'utf8')).toMatch(/^rebuild -j \d+\n$/);
      if (!existsSync(join(process.execPath, '../../include/node/node_api.h'))) return;
      rmSync(stamp());
      await build(env);
      expect(readFileSync(join(root, 'calls'), 'utf8').split('\n')[1]).toContain(`--nodedir=${join(process.execPath, '../..')}`);
    });
  });
});
