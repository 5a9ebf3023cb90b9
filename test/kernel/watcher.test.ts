import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { injecting, manifest, next, open, provider, providing, tempDir, write, type Opened } from './support.ts';

const swapped = (plugin: string) => (event: { readonly type: string; readonly generation?: { readonly plugin: string } }) => event.type === 'swapped' && event.generation?.plugin === plugin;

/** Waits until nothing has happened for a while, longer than a change takes to settle. */
async function quiet({ events }: Opened): Promise<void> {
  for (let seen = -1; seen !== events.length; ) {
    seen = events.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

describe('a watched kernel', () => {
  it('serves a file once it is saved', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one'), 'a/deep/note.txt': 'x' });
    const { kernel, says } = await open(dir, { watch: true });
    const done = next(kernel, swapped('inject:a'));
    write(dir, { 'a/index.ts': injecting('two') });
    expect(await done).toMatchObject({ generation: { number: 2 }, saveToActiveMs: expect.any(Number) as number });
    expect(await says('a')).toBe('two');
  });

  it('takes up a folder that is added, and one below a folder that was not there, and lets go of one that is removed', async () => {
    const dir = tempDir();
    const later = join(dir, 'later/plugins');
    mkdirSync(join(dir, 'now'));
    const { kernel, says } = await open([join(dir, 'now'), later], { watch: true });
    const added = next(kernel, swapped('inject:a'));
    write(join(dir, 'now'), { 'a/package.json': manifest('a'), 'a/index.ts': "export { default } from './src/a.ts';", 'a/src/a.ts': injecting('one') });
    await added;
    expect(await says('a')).toBe('one');
    const edited = next(kernel, swapped('inject:a'));
    write(join(dir, 'now'), { 'a/src/a.ts': injecting('two') });
    await edited;
    expect(await says('a')).toBe('two');
    const below = next(kernel, swapped('inject:b'));
    write(later, { 'b/package.json': manifest('b'), 'b/index.ts': injecting('b') });
    await below;
    const removed = next(kernel, ({ type }) => type === 'removed');
    rmSync(join(dir, 'now/a'), { recursive: true });
    expect(await removed).toEqual({ type: 'removed', plugin: 'inject:a' });
    expect(kernel.names('inject')).toEqual(['b']);
  });

  it('takes an editor\'s atomic save for one edit', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one') });
    const opened = await open(dir, { watch: true });
    const index = join(dir, 'a/index.ts');
    const done = next(opened.kernel, swapped('inject:a'));
    // As vim does it: a probe, a backup by renaming, a new file, the backup gone.
    writeFileSync(join(dir, 'a/4913'), '');
    rmSync(join(dir, 'a/4913'));
    renameSync(index, `${index}~`);
    writeFileSync(index, injecting('two'));
    rmSync(`${index}~`);
    await done;
    // As VS Code and JetBrains do it: a temporary file, renamed over.
    const again = next(opened.kernel, swapped('inject:a'));
    writeFileSync(`${index}___jb_tmp___`, injecting('three'));
    renameSync(`${index}___jb_tmp___`, index);
    await again;
    await quiet(opened);
    expect(await opened.says('a')).toBe('three');
    expect(opened.slot('inject:a')).toMatchObject({ swaps: 2, failures: 0 });
  });

  it('takes a checkout of many files for one change', async () => {
    const dir = tempDir();
    const version = (n: number): void => {
      for (const name of ['a', 'b', 'c']) {
        const files = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`part${index}.ts`, `export const part${index} = ${n};`]));
        const imports = Object.keys(files).map((file, index) => `import { part${index} } from './${file}';`).join('\n');
        const check = `if (new Set([${Object.keys(files).map((_, index) => `part${index}`).join(', ')}]).size !== 1) throw new Error('half a checkout');`;
        write(join(dir, name), { 'package.json': manifest(name, {}, { version: `0.0.${n}` }), ...files, 'index.ts': `${imports}\n${check}\n${injecting(`${name} ${n}`)}` });
      }
    };
    version(1);
    const opened = await open(dir, { watch: true });
    const all = Promise.all(['a', 'b', 'c'].map((name) => next(opened.kernel, swapped(`inject:${name}`))));
    version(2);
    await all;
    await quiet(opened);
    for (const name of ['a', 'b', 'c']) {
      expect(await opened.says(name)).toBe(`${name} 2`);
      expect(opened.slot(`inject:${name}`)).toMatchObject({ swaps: 1, failures: 0, manifest: { version: '0.0.2' } });
    }
  });

  it('passes over node_modules, hidden files, and what editors leave beside a file', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one'), 'a/node_modules/x/index.js': '' });
    const opened = await open(dir, { watch: true });
    write(dir, { 'a/node_modules/x/index.js': 'edited', 'a/.index.ts.swp': 'x', 'a/index.ts~': 'x', 'a/#index.ts#': 'x', 'a/.git/HEAD': 'x', '.idea/x.xml': 'x' });
    await quiet(opened);
    expect(opened.events).toEqual([]);
  });

  it('goes on serving through a broken save, and takes the next one', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one') });
    const { kernel, says, slot } = await open(dir, { watch: true });
    const failed = next(kernel, ({ type }) => type === 'swap-failed');
    write(dir, { 'a/index.ts': 'export default {' });
    expect(await failed).toMatchObject({ plugin: 'inject:a', code: 'PLUGIN_BUILD' });
    expect(await says('a')).toBe('one');
    const mended = next(kernel, swapped('inject:a'));
    write(dir, { 'a/index.ts': injecting('two') });
    await mended;
    expect(await says('a')).toBe('two');
    expect(slot('inject:a').reason).toBeUndefined();
  });

  it('swaps dependents with their provider', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1'));
    write(join(dir, 'b'), provider('b', 'b1', ['a']));
    const { kernel } = await open(dir, { watch: true });
    const done = next(kernel, swapped('b'));
    write(dir, { 'a/index.ts': providing('a', 'a2') });
    await done;
    const lease = kernel.leaseToken('b');
    expect(lease.value).toBe('b1 < a2');
    lease.release();
  });

  it('stops watching when it is disposed', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one') });
    const opened = await open(dir, { watch: true });
    await opened.kernel.dispose();
    await vi.waitFor(() => expect(opened.events.at(-1)).toMatchObject({ type: 'disposed' }));
    const before = opened.events.length;
    write(dir, { 'a/index.ts': injecting('two') });
    await quiet(opened);
    expect(opened.events.length).toBe(before);
  });
});
