import { execFileSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { injecting, manifest, open, tempDir, write, type Files } from './support.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** What tsyringe keeps for as long as the process lives: decorated classes, and every token that was ever looked up. */
const { typeInfo, instance } = createRequire(import.meta.url)('tsyringe/dist/cjs/dependency-container.js') as { typeInfo: Map<unknown, unknown>; instance: { _registry: { _registryMap: Map<unknown, unknown> } } };
const kept = (): number[] => [typeInfo.size, instance._registry._registryMap.size];

/** Opens a kernel over one plugin `a` with these files, beside its manifest. */
async function openA(files: Files, graftKeys = {}): ReturnType<typeof open> {
  const dir = tempDir();
  write(join(dir, 'a'), { 'package.json': manifest('a', graftKeys), ...files });
  return open(dir);
}

const answering = (expression: string, imports: string): Files => ({
  'index.ts': `
${imports}
import { definePlugin, Type } from 'graft';
const answer = async () => ({ name: JSON.stringify(${expression}), trainables: [], save: async () => [], load: async () => {}, remove: () => {} });
export default definePlugin({ stage: 'inject', config: Type.Object({}), setup: () => ({ inject: answer }) });
`,
});

describe('a plugin', () => {
  it('is TypeScript with constructor injection by type, in a container of its own', async () => {
    const globals = globalThis as { graftDisposals?: string[] };
    globals.graftDisposals = [];
    const [classes, tokens] = kept();
    const { kernel, says } = await open(fileURLToPath(new URL('fixtures/inject-decorated', import.meta.url)));
    expect([await says('decorated'), await says('decorated')]).toEqual(['decorated 1', 'decorated 2']);
    expect(typeInfo.size).toBe(classes! + 2);
    await kernel.dispose();
    expect(kept()).toEqual([classes, tokens]);
    expect(globals.graftDisposals).toEqual(['Namer', 'Namer']);
    delete globals.graftDisposals;
  });

  it('starts anew in each generation: a singleton does not outlive its own', async () => {
    const dir = tempDir();
    cpSync(fileURLToPath(new URL('fixtures/inject-decorated', import.meta.url)), join(dir, 'decorated'), { recursive: true });
    const { kernel, says } = await open(dir);
    expect([await says('decorated'), await says('decorated')]).toEqual(['decorated 1', 'decorated 2']);
    write(dir, { 'decorated/clock.ts': "import { singleton } from 'tsyringe';\n@singleton()\nexport class Clock { ticks = 10; tick() { return ++this.ticks; } }\n" });
    await kernel.refresh();
    expect([await says('decorated'), await says('decorated')]).toEqual(['decorated 11', 'decorated 12']);
  });

  it('may be JavaScript, ES or CommonJS, without a "main"', async () => {
    const dir = tempDir();
    write(dir, {
      'es/package.json': manifest('es', {}, { main: undefined }),
      'es/index.mjs': injecting('es'),
      'cjs/package.json': manifest('cjs', {}, { main: './lib/plugin.js', type: 'commonjs' }),
      'cjs/lib/plugin.js': "const { definePlugin, Type } = require('graft');\nmodule.exports = definePlugin({ stage: 'inject', config: Type.Object({}), setup: () => ({ inject: async () => ({ name: require('./name').name }) }) });\n",
      'cjs/lib/name.js': "exports.name = 'cjs';\n",
    });
    const { says } = await open(dir);
    expect([await says('es'), await says('cjs')]).toEqual(['es', 'cjs']);
  });

  it('imports its own files as TypeScript does, JSON and text among them', async () => {
    const { says } = await openA({
      ...answering("[a, b, c, d.n, text, where]", "import a from './a.js';\nimport b from './b';\nimport c from './deep';\nimport d from './d.json' with { type: 'json' };\nimport text from './note.txt';\nimport { where } from './deep/where.ts';\n"),
      'a.ts': "export default 'a' as string;",
      'b.mts': "export default 'b';",
      'deep/index.ts': "export default 'c';",
      'deep/where.ts': 'export const where = [import.meta.dirname, import.meta.url.slice(0, 8)];',
      'd.json': '{ "n": 4 }',
      'note.txt': 'hello',
    });
    const [a, b, c, n, text, where] = JSON.parse(await says('a')) as unknown[];
    expect([a, b, c, n, text]).toEqual(['a', 'b', 'c', 4, 'hello']);
    expect(where).toEqual([expect.stringMatching(/graft-kernel-.*\/a$/), 'file:///']);
  });

  it('sees packages as Node\'s import does, and its own node_modules first', async () => {
    const { says } = await openA({
      ...answering(
        '[typeof cjs, cjs.tag, tag, typeof marked, marked.default, es, esTag, only.a, lazy.default, required.tag, yaml]',
        "import cjs, { tag } from 'own-cjs';\nimport marked from 'own-marked';\nimport es, { tag as esTag } from 'own-es';\nimport * as only from 'own-named';\nimport { createRequire } from 'node:module';\nimport { version as yaml } from 'yaml';\nlet lazy;\nimport('own-es').then((it) => (lazy = it));\nconst required = createRequire(import.meta.url)('own-cjs');",
      ),
      'node_modules/own-cjs/package.json': '{ "name": "own-cjs" }',
      'node_modules/own-cjs/index.js': "module.exports = () => 1; module.exports.tag = 'cjs';",
      'node_modules/own-marked/package.json': '{ "name": "own-marked" }',
      'node_modules/own-marked/index.js': "Object.defineProperty(exports, '__esModule', { value: true }); exports.default = 'inner';",
      'node_modules/own-es/package.json': '{ "name": "own-es", "type": "module", "main": "index.js" }',
      'node_modules/own-es/index.js': "export default 'es default'; export const tag = 'es';",
      'node_modules/own-named/package.json': '{ "name": "own-named", "type": "module", "main": "index.js" }',
      'node_modules/own-named/index.js': 'export const a = 1;',
      'node_modules/yaml/package.json': '{ "name": "yaml" }',
      'node_modules/yaml/index.js': "exports.version = 'the plugin\\'s own';",
    });
    expect(JSON.parse(await says('a'))).toEqual(['function', 'cjs', 'cjs', 'object', 'inner', 'es default', 'es', 1, 'es default', 'cjs', "the plugin's own"]);
  });

  it('falls back on the packages of the host', async () => {
    const { says } = await openA(answering('semver.major("3.2.1")', "import semver from 'semver';"));
    expect(await says('a')).toBe('3');
  });

  it('shares the host\'s packages: one instance in the process', async () => {
    const { GraftError } = await import('graft');
    const { kernel } = await openA({ 'index.ts': "import { definePlugin, GraftError, Type } from 'graft';\nimport { Type as same } from 'typebox';\nexport default definePlugin({ stage: 'inject', config: Type.Object({}), setup: () => ({ inject: async () => ({ GraftError, same: same === Type }) }) });" });
    const answer = (await kernel.lease('inject', 'a').value.inject({} as never)) as unknown as { GraftError: unknown; same: boolean };
    expect(answer.GraftError).toBe(GraftError);
    expect(answer.same).toBe(true);
  });

  it.each([
    ['a syntax error', { 'index.ts': 'export default 1;\nconst = 2;' }, 'DIR/index.ts:2:7: Expected identifier but found "="'],
    ['an import of another plugin', { 'index.ts': "import '../b/index.ts';" }, "DIR/index.ts:1:8: ../b/index.ts lies outside the plugin's folder. A plugin imports its own files, \"graft\" and packages."],
    ['an import by absolute path', { 'index.ts': "import '/etc/x.ts';" }, "DIR/index.ts:1:8: /etc/x.ts lies outside the plugin's folder. A plugin imports its own files, \"graft\" and packages."],
    ['a file that is not there', { 'index.ts': "\n  import './gone.ts';" }, 'DIR/index.ts:2:10: There is no file ./gone.ts.'],
    ['a file of an unknown type', { 'index.ts': "import './logo.png';", 'logo.png': '' }, 'DIR/index.ts:1:8: A plugin cannot import files of the type .png.'],
    ['an await at the top level', { 'index.ts': 'await 1;\nexport default 1;' }, 'DIR/index.ts:1:1: A plugin may not await at its top level; do it in setup, which may be asynchronous.'],
    ['two mistakes', { 'index.ts': "import './x.ts';\nimport './y.ts';" }, 'DIR/index.ts:1:8: There is no file ./x.ts.; DIR/index.ts:2:8: There is no file ./y.ts.'],
  ])('that has %s is not built, and the place is named', async (_, files, message) => {
    const { slot, kernel } = await openA(files);
    const { state, reason, dir } = slot('inject:a');
    expect(state).toBe('failed');
    expect(reason).toBe(`inject:a does not build: ${message.replaceAll('DIR', dir)}`);
    expect(() => kernel.lease('inject', 'a')).toThrow(`The plugin inject:a cannot be used: ${reason}`);
  });

  it.each([
    ['throws when its code is run', "import { helper } from './helper.ts';\nhelper();", 'inject:a failed when its code was run: boom (DIR/helper.ts:4:9)'],
    ['throws in setup', injecting('x', "const { helper } = await import('./helper.ts');\nhelper();"), 'inject:a failed in its setup: boom (DIR/helper.ts:4:9)'],
    ['needs a package that is not there', "import 'left-pad-of-nobody';", 'inject:a failed when its code was run: the package left-pad-of-nobody is not installed, neither in DIR nor in a folder above it nor beside Graft (DIR/index.ts:1:8)'],
  ])('that %s is reported with the line of its source', async (_, index, message) => {
    const { slot } = await openA({ 'index.ts': index, 'helper.ts': "interface Long { a: string }\n\nexport function helper(): Long {\n  throw new Error('boom');\n}\n" });
    const { reason, dir } = slot('inject:a');
    expect(reason).toBe(message.replaceAll('DIR', dir));
  });

  it('has stack traces of its TypeScript, decorated files too', () => {
    const dir = tempDir();
    write(join(dir, 'plugins/a'), {
      'package.json': manifest('a'),
      'index.ts': "import { definePlugin, Type } from 'graft';\nimport { Deep } from './deep.ts';\nexport default definePlugin({ stage: 'inject', config: Type.Object({}), setup: ({ container }) => ({ inject: async () => container.resolve(Deep).fail() }) });\n",
      'deep.ts': "import { injectable } from 'tsyringe';\n\ninterface Shape {\n  readonly a: number;\n}\n\n@injectable()\nexport class Deep {\n  fail(): Shape {\n    throw new TypeError('deep');\n  }\n}\n",
    });
    write(dir, {
      'main.mts': `
import { createKernel } from ${JSON.stringify(join(root, 'core/kernel/kernel.ts'))};
import * as define from ${JSON.stringify(join(root, 'core/kernel/define.ts'))};
import { Type } from ${JSON.stringify(createRequire(import.meta.url).resolve('typebox'))};
const silent = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const log = { ...silent, child: () => log };
const kernel = await createKernel({ dirs: [${JSON.stringify(join(dir, 'plugins'))}], hostModules: { graft: { ...define, Type } }, apiVersion: '1.0.0', log });
const error = await kernel.lease('inject', 'a').value.inject({}).catch((error) => error);
console.log(error.stack);
await kernel.dispose();
`,
    });
    const printed = execFileSync(process.execPath, ['--import', createRequire(import.meta.url).resolve('tsx'), join(dir, 'main.mts')], { encoding: 'utf8', cwd: root });
    const [message, ...frames] = printed.split('\n');
    expect(message).toBe('TypeError: deep');
    expect(frames[0]).toMatch(new RegExp(`^ +at (?:Deep\\.)?fail \\(${join(dir, 'plugins/a/deep.ts')}:10:11\\)$`));
    expect(frames[1]).toContain(`${join(dir, 'plugins/a/index.ts')}:3:`);
  });
});

describe('a generation\'s hash', () => {
  it('is of the manifest and of the files that the bundle takes in, wherever the folder lies', async () => {
    const files: Files = { 'package.json': manifest('a'), 'index.ts': `import './b.ts';${injecting('a')}`, 'b.ts': 'export {};', 'README.md': 'one' };
    const hashOf = async (more: Files): Promise<string> => {
      const dir = tempDir();
      write(join(dir, 'folder'), { ...files, ...more });
      const { slot } = await open(dir);
      return slot('inject:a').current!.hash;
    };
    const hash = await hashOf({});
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(await hashOf({ 'README.md': 'two', 'unused.ts': 'export {};' })).toBe(hash);
    expect(await hashOf({ 'b.ts': 'export { };' })).not.toBe(hash);
    expect(await hashOf({ 'package.json': manifest('a', {}, { version: '0.2.0' }) })).not.toBe(hash);
  });

  it('lets an edit that changes nothing pass without a swap', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('a') });
    const { kernel, slot, events } = await open(dir);
    rmSync(join(dir, 'a/index.ts'));
    write(dir, { 'a/index.ts': injecting('a'), 'a/README.md': 'new' });
    await kernel.refresh();
    expect(slot('inject:a').swaps).toBe(0);
    expect(events).toEqual([]);
  });
});
