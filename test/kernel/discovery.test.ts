import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { injecting, manifest, open, tempDir, thrownBy, write } from './support.ts';

describe('discovery', () => {
  it('finds the plugins of a folder, and a folder that is one itself', async () => {
    const dir = tempDir();
    const single = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('a'), 'b/package.json': manifest('b', {}, { main: undefined }), 'b/index.js': injecting('b') });
    write(single, { 'package.json': manifest('c'), 'index.ts': injecting('c') });
    const { kernel, says } = await open([dir, single, join(dir, 'not-there')]);
    expect(kernel.names('inject')).toEqual(['a', 'b', 'c']);
    expect(kernel.explain().rejected).toEqual([]);
    expect([await says('a'), await says('b'), await says('c')]).toEqual(['a', 'b', 'c']);
  });

  it('finds installed packages with a "graft" key, scoped ones too, and passes over the others', async () => {
    const modules = join(tempDir(), 'node_modules');
    write(modules, {
      'graft-a/package.json': manifest('a'),
      'graft-a/index.ts': injecting('a'),
      '@someone/b/package.json': manifest('b'),
      '@someone/b/index.ts': injecting('b'),
      'other/package.json': '{ "name": "other", "devDependencies": { "graft": "^0.1.0" } }',
      'broken/package.json': '{',
    });
    const { kernel } = await open([], { packagesFrom: [modules] });
    expect(kernel.names('inject')).toEqual(['a', 'b']);
    expect(kernel.explain().rejected).toEqual([]);
  });

  it('takes a package installed while it runs on the next refresh', async () => {
    const modules = join(tempDir(), 'node_modules');
    const { kernel } = await open([], { packagesFrom: [modules] });
    write(modules, { 'graft-a/package.json': manifest('a'), 'graft-a/index.ts': injecting('a') });
    await kernel.refresh();
    expect(kernel.names('inject')).toEqual(['a']);
  });

  it('takes a folder once, by whatever way it is reached', async () => {
    const dir = tempDir();
    write(dir, { 'real/a/package.json': manifest('a'), 'real/a/index.ts': injecting('a') });
    mkdirSync(join(dir, 'linked'));
    symlinkSync(join(dir, 'real/a'), join(dir, 'linked/a'));
    const { kernel } = await open([join(dir, 'real'), join(dir, 'linked'), join(dir, 'real')]);
    expect(kernel.names('inject')).toEqual(['a']);
    expect(kernel.explain().rejected).toEqual([]);
  });

  it('reports a second plugin of one id, and takes it when the first is gone', async () => {
    const first = tempDir();
    const second = tempDir();
    write(first, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('first') });
    write(second, { 'z/package.json': manifest('a'), 'z/index.ts': injecting('second') });
    const { kernel, says, log } = await open([first, second]);
    const reason = `${second}/z is a second plugin of the id inject:a; the one in ${first}/a is used.`;
    expect(kernel.explain().rejected).toEqual([{ dir: join(second, 'z'), code: 'PLUGIN_DUPLICATE', reason }]);
    expect(log.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)).toEqual([`${reason} It is skipped.`]);
    expect(await says('a')).toBe('first');
    rmSync(join(first, 'a'), { recursive: true });
    await kernel.refresh();
    expect(await says('a')).toBe('second');
    expect(kernel.explain().rejected).toEqual([]);
  });

  it.each([
    ['no package.json', { 'index.ts': '' }, 'MANIFEST_MISSING', 'DIR has no package.json, so it is not a plugin.'],
    ['no "graft" key', { 'package.json': '{}' }, 'MANIFEST_MISSING', 'DIR/package.json has no "graft" key, so DIR is not a plugin.'],
    ['a list for "graft"', { 'package.json': '{ "graft": [] }' }, 'MANIFEST_INVALID', 'DIR/package.json: "graft" must be an object.'],
    ['no version', { 'package.json': manifest('a', {}, { version: undefined }) }, 'MANIFEST_INVALID', 'DIR/package.json: "version" must be a text that is not empty.'],
    ['a version that is none', { 'package.json': manifest('a', {}, { version: 'one' }) }, 'MANIFEST_INVALID', 'DIR/package.json: "version" is "one", which is not a semver version.'],
    ['a range that is none', { 'package.json': manifest('a', { api: 'new' }) }, 'MANIFEST_INVALID', 'DIR/package.json: "graft.api" is "new", which is not a semver range.'],
    ['an unknown key', { 'package.json': manifest('a', { stages: 1 }) }, 'MANIFEST_INVALID', 'DIR/package.json: "graft.stages" is not a key of a manifest; there are api, stage, provides, name, consumes and swap.'],
    ['neither stage nor provides', { 'package.json': manifest('a', { stage: undefined }) }, 'MANIFEST_INVALID', 'DIR/package.json: "graft" must have either "stage" or "provides", and not both.'],
    ['both stage and provides', { 'package.json': manifest('a', { stage: 'load', provides: 'x' }) }, 'MANIFEST_INVALID', 'DIR/package.json: "graft" must have either "stage" or "provides", and not both.'],
    ['an unknown stage', { 'package.json': manifest('a', { stage: 'deploy' }) }, 'MANIFEST_INVALID', 'DIR/package.json: "graft.stage" is "deploy"; it must be one of load, preprocess, inject, train, serve.'],
    ['consumes that is no list', { 'package.json': manifest('a', { consumes: 'x' }) }, 'MANIFEST_INVALID', 'DIR/package.json: "graft.consumes" must be a list of token names.'],
    ['an unknown swap', { 'package.json': manifest('a', { swap: 'hot' }) }, 'MANIFEST_INVALID', 'DIR/package.json: "graft.swap" is "hot"; it must be "live" or "restart".'],
    ['no name', { 'package.json': manifest('a', { name: '' }) }, 'MANIFEST_INVALID', 'DIR/package.json: "graft.name" must be a text that is not empty.'],
    ['a main that is not there', { 'package.json': manifest('a', {}, { main: './gone.ts' }) }, 'MANIFEST_INVALID', 'DIR/package.json: "main" is "./gone.ts", and there is no such file.'],
    ['no main and no index', { 'package.json': manifest('a', {}, { main: undefined }) }, 'MANIFEST_INVALID', 'DIR/package.json: there is no "main", and no index.ts or index.js beside it.'],
    ['another API', { 'package.json': manifest('a', { api: '^2.0.0' }), 'index.ts': 'globalThis.graftTestRan = true;' }, 'API_MISMATCH', 'DIR/package.json: graft-a is written for plugin API ^2.0.0, and this is 1.0.0.'],
  ])('skips a folder with %s, and says so', async (_, files, code, reason) => {
    const dir = tempDir();
    write(join(dir, 'bad'), files);
    write(join(dir, 'good'), { 'package.json': manifest('good'), 'index.ts': injecting('good') });
    const { kernel } = await open(dir);
    expect(kernel.explain().rejected).toEqual([{ dir: join(dir, 'bad'), code, reason: reason.replaceAll('DIR', join(dir, 'bad')) }]);
    expect(kernel.names('inject')).toEqual(['good']);
    expect(globalThis).not.toHaveProperty('graftTestRan');
  });

  it('skips a manifest that is not JSON, and says where', async () => {
    const dir = tempDir();
    write(dir, { 'bad/package.json': '{ "graft": ' });
    const { kernel } = await open(dir);
    const [rejection] = kernel.explain().rejected;
    expect(rejection?.code).toBe('MANIFEST_INVALID');
    expect(rejection?.reason).toMatch(new RegExp(`^${join(dir, 'bad/package.json')} is not valid JSON: Unexpected end of JSON input`));
  });

  it('names the nearest plugin for one that it does not know', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('lora'), 'a/index.ts': injecting('a'), 'b/package.json': manifest('adapter'), 'b/index.ts': injecting('b') });
    const { kernel } = await open(dir);
    expect(await thrownBy(() => kernel.lease('inject', 'lorra'))).toMatchObject({ code: 'PLUGIN_UNKNOWN', message: 'There is no plugin inject:lorra.', hint: 'Did you mean inject:lora? There are: inject:adapter, inject:lora.' });
    expect(await thrownBy(() => kernel.lease('train', 'sft'))).toMatchObject({ code: 'PLUGIN_UNKNOWN', hint: '`graft plugins` lists what there is.' });
  });
});
