import { cpSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, it } from 'vitest';
import type { BuildCache } from '../../core/contracts/index.ts';
import { KeptBuilds } from '../../core/host/kept-builds.ts';
import { manifest, open, tempDir, write, type Files, type Opened } from '../kernel/support.ts';

const DECORATED = fileURLToPath(new URL('../kernel/fixtures/inject-decorated', import.meta.url));

let plugins: string;
let cache: string;
beforeEach(() => {
  plugins = tempDir();
  cache = join(tempDir(), 'builds');
});

/** A kernel of its own, as another process has one; and the entries of the plugins that it had to build. */
async function start(dirs: string = plugins): Promise<Opened & { readonly built: readonly string[] }> {
  const kept = new KeptBuilds(cache);
  const built: string[] = [];
  const buildCache: BuildCache = {
    read: (entry) => kept.read(entry),
    write: (entry, build) => {
      built.push(entry);
      kept.write(entry, build);
    },
  };
  const opened = await open(dirs, { buildCache });
  return { ...opened, built };
}

/** An inject plugin whose graft's name is what an expression comes to. */
const saying = (expression: string, imports = ''): string => `
${imports}
import { definePlugin, Type } from 'graft';
const answer = async () => ({ name: String(${expression}), trainables: [], save: async () => [], load: async () => {}, remove: () => {} });
export default definePlugin({ stage: 'inject', config: Type.Object({}), setup: () => ({ inject: answer }) });
`;

const plugin = (files: Files): void => write(join(plugins, 'a'), { 'package.json': manifest('a'), ...files });

describe('a build that was kept', () => {
  it('is what the next start runs: same answer, same hash, nothing built', async () => {
    plugin({ 'index.ts': saying('text', "import { text } from './b.ts';"), 'b.ts': "export const text: string = 'kept';" });
    cpSync(DECORATED, join(plugins, 'decorated'), { recursive: true });
    const first = await start();
    expect(first.built).toHaveLength(2);
    const second = await start();
    expect(second.built).toEqual([]);
    expect([await second.says('a'), await second.says('decorated')]).toEqual(['kept', 'decorated 1']);
    for (const id of ['inject:a', 'inject:decorated']) expect(second.slot(id).current!.hash).toBe(first.slot(id).current!.hash);
  });

  it('is not taken after an edit, even one of the same size and time', async () => {
    plugin({ 'index.ts': saying('text', "import { text } from './b.ts';"), 'b.ts': "export const text = 'one';" });
    await start();
    const { atime, mtime } = statSync(join(plugins, 'a/b.ts'));
    plugin({ 'b.ts': "export const text = 'two';" });
    utimesSync(join(plugins, 'a/b.ts'), atime, mtime);
    const { says, built } = await start();
    expect(await says('a')).toBe('two');
    expect(built).toHaveLength(1);
    expect((await start()).built).toEqual([]);
  });

  it.each([
    ["import { text } from './b';", { 'b.js': "export const text = 'old';" }, { 'b.ts': "export const text = 'new';" }],
    ["import { text } from './b';", { 'b/index.js': "export const text = 'old';" }, { 'b.mts': "export const text = 'new';" }],
    ["import { text } from './b.js';", { 'b.ts': "export const text = 'old';" }, { 'b.js': "export const text = 'new';" }],
  ])('is not taken when a file is added that `%s` means instead', async (imports, before: Files, added: Files) => {
    plugin({ 'index.ts': saying('text', imports), ...before });
    expect(await (await start()).says('a')).toBe('old');
    plugin(added);
    expect(await (await start()).says('a')).toBe('new');
  });

  it('is not taken when package.json says otherwise what #imports mean', async () => {
    const imports = (file: string): string => manifest('a', {}, { imports: { '#text': file } });
    plugin({ 'package.json': imports('./one.js'), 'index.ts': saying('text', "import { text } from '#text';"), 'one.js': "export const text = 'one';", 'two.js': "export const text = 'two';" });
    expect(await (await start()).says('a')).toBe('one');
    write(join(plugins, 'a'), { 'package.json': imports('./two.js') });
    expect(await (await start()).says('a')).toBe('two');
    expect((await start()).built).toHaveLength(1);
  });

  it('knows its own place after its folder was moved', async () => {
    plugin({ 'index.ts': saying('import.meta.dirname') });
    expect(await (await start()).says('a')).toBe(join(plugins, 'a'));
    renameSync(join(plugins, 'a'), join(plugins, 'moved'));
    expect(await (await start()).says('a')).toBe(join(plugins, 'moved'));
  });

  it('does not hide that a file is gone, or that the newest edit does not build', async () => {
    plugin({ 'index.ts': saying('text', "import { text } from './b.ts';"), 'b.ts': "export const text = 'kept';" });
    await start();
    rmSync(join(plugins, 'a/b.ts'));
    expect((await start()).slot('inject:a')).toMatchObject({ state: 'failed', reason: expect.stringContaining('There is no file ./b.ts.') as string });
    plugin({ 'b.ts': 'export const = 1;' });
    expect((await start()).slot('inject:a')).toMatchObject({ state: 'failed', reason: expect.stringContaining(`${plugins}/a/b.ts:1:14`) as string });
    plugin({ 'b.ts': "export const text = 'kept';" });
    expect(await (await start()).says('a')).toBe('kept');
  });

  it('is made anew and written again where what is on disk is damaged', async () => {
    plugin({ 'index.ts': saying("'whole'") });
    await start();
    const [file] = readdirSync(cache).map((name) => join(cache, name));
    writeFileSync(file!, readFileSync(file!, 'utf8').replace("'whole'", "'wrong'").replace('"whole"', '"wrong"'));
    const { says, built } = await start();
    expect([await says('a'), built.length]).toEqual(['whole', 1]);
    expect((await start()).built).toEqual([]);
  });

  it('maps errors to the lines of the source as a new one does', async () => {
    plugin({ 'index.ts': "import './b.ts';", 'b.ts': "interface Long {\n  a: string;\n}\n\nthrow new Error('boom') as Error & Long;\n" });
    const reasons = [await start(), await start()].map(({ slot }) => slot('inject:a').reason);
    expect(reasons[0]).toBe(`inject:a failed when its code was run: boom (${plugins}/a/b.ts:5:7)`);
    expect(reasons[1]).toBe(reasons[0]);
  });

  it('is swapped for an edit while the host runs, and back', async () => {
    plugin({ 'index.ts': saying("'one'") });
    await start();
    const { kernel, says, slot } = await start();
    plugin({ 'index.ts': saying("'two'") });
    await kernel.refresh();
    expect(await says('a')).toBe('two');
    plugin({ 'index.ts': saying("'one'") });
    await kernel.refresh();
    expect([await says('a'), slot('inject:a').swaps]).toEqual(['one', 2]);
  });
});
