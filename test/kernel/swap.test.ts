import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { injecting, manifest, open, tempDir, thrownBy, write } from './support.ts';

/** What the plugins of a test tell, in order: their code says `globalThis.graftSeen.push(...)`. */
let seen: string[];
beforeEach(() => void (seen = (globalThis as { graftSeen?: string[] }).graftSeen = []));
afterEach(() => void delete (globalThis as { graftSeen?: string[] }).graftSeen);

const telling = (name: string): string => `
  const me = ${JSON.stringify(name)} + ' ' + generation.number;
  globalThis.graftSeen.push('setup ' + me);
  scope.own('first of ' + me, () => void globalThis.graftSeen.push('dispose first of ' + me));
  scope.own('second of ' + me, () => void globalThis.graftSeen.push('dispose second of ' + me));
`;

describe('a swap', () => {
  it('serves the new generation, and disposes the old one last in first out once nobody uses it', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one', telling('a')) });
    const { kernel, says, slot, events } = await open(dir);
    expect(slot('inject:a').current).toMatchObject({ number: 1, leases: 0, holds: ['injection container', 'first of a 1', 'second of a 1'] });
    const lease = kernel.lease('inject', 'a');
    write(dir, { 'a/index.ts': injecting('two', telling('a')) });
    await kernel.refresh();
    expect(await says('a')).toBe('two');
    expect((await lease.value.inject({} as never)).name).toBe('one');
    expect(slot('inject:a')).toMatchObject({ state: 'active', swaps: 1, failures: 0, current: { number: 2, leases: 0 }, draining: [{ number: 1, leases: 1 }] });
    expect(seen).toEqual(['setup a 1', 'setup a 2']);
    expect(lease.signal.aborted).toBe(false);
    lease.release();
    lease.release();
    await vi.waitFor(() => expect(seen).toEqual(['setup a 1', 'setup a 2', 'dispose second of a 1', 'dispose first of a 1']));
    await vi.waitFor(() => expect(slot('inject:a').draining).toEqual([]));
    expect(lease.signal.aborted).toBe(true);
    expect(events.map(({ type }) => type)).toEqual(['swapped', 'disposed']);
    expect(events[1]).toMatchObject({ generation: { plugin: 'inject:a', number: 1 }, failures: [] });
  });

  it('gives up on a lease at the deadline: the signal fires and the generation is disposed', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one', telling('a')) });
    const { kernel } = await open(dir, { drainMs: 20 });
    const lease = kernel.lease('inject', 'a');
    write(dir, { 'a/index.ts': injecting('two') });
    await kernel.refresh();
    await vi.waitFor(() => expect(seen).toEqual(['setup a 1', 'dispose second of a 1', 'dispose first of a 1']));
    expect(lease.signal.aborted).toBe(true);
    expect((lease.signal.reason as Error).message).toBe('inject:a generation 1 was replaced or unloaded.');
  });

  it('waits for a pinned lease past the deadline', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one', telling('a')) });
    const { kernel, slot } = await open(dir, { drainMs: 0 });
    const pinned = kernel.lease('inject', 'a', { pinned: true });
    kernel.lease('inject', 'a');
    write(dir, { 'a/index.ts': injecting('two') });
    await kernel.refresh();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(seen).toEqual(['setup a 1']);
    expect(slot('inject:a').draining).toMatchObject([{ number: 1, leases: 2 }]);
    pinned.release();
    await vi.waitFor(() => expect(seen).toEqual(['setup a 1', 'dispose second of a 1', 'dispose first of a 1']));
  });

  it('tells of a disposer that fails or hangs, by its label', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one', "scope.own('socket', () => { throw new Error('gone'); }); scope.own('server', () => new Promise(() => {}));") });
    const { kernel, events } = await open(dir, { disposeMs: 20 });
    write(dir, { 'a/index.ts': injecting('two') });
    await kernel.refresh();
    await vi.waitFor(() =>
      expect(events.at(-1)).toMatchObject({
        type: 'disposed',
        failures: ['Disposing of server in inject:a generation 1 took longer than 20 ms and was left behind.', 'Disposing of socket in inject:a generation 1 failed: gone'],
      }),
    );
  });

  it.each([
    ['does not build', { 'a/index.ts': 'const;' }, 'PLUGIN_BUILD', 'inject:a does not build: DIR/a/index.ts:1:6: Expected identifier but found ";"'],
    ['throws when its code is run', { 'a/index.ts': "throw new Error('no');" }, 'PLUGIN_EVALUATE', 'inject:a failed when its code was run: no (DIR/a/index.ts:1:7)'],
    ['throws in setup', { 'a/index.ts': injecting('two', "scope.own('x', () => void globalThis.graftSeen.push('undone')); throw new Error('no');") }, 'PLUGIN_SETUP', 'inject:a failed in its setup: no (DIR/a/index.ts:7:75)'],
    ['never finishes its setup', { 'a/index.ts': injecting('two', 'await new Promise(() => {});') }, 'PLUGIN_SETUP_TIMEOUT', 'inject:a: its setup did not finish within 100 ms.'],
    ['exports nothing', { 'a/index.ts': 'export {};' }, 'PLUGIN_EXPORT', 'inject:a: the default export of its index is an object; it must be what definePlugin returns.'],
    ['exports something else', { 'a/index.ts': 'export default () => 1;' }, 'PLUGIN_EXPORT', 'inject:a: the default export of its index is a function; it must be what definePlugin returns.'],
    ['has no setup', { 'a/index.ts': "export default { kind: 'graft-plugin', stage: 'inject', config: {}, needs: {} };" }, 'PLUGIN_EXPORT', 'inject:a: its definition has no setup function.'],
    ['has no schema', { 'a/index.ts': "export default { kind: 'graft-plugin', stage: 'inject', needs: {}, setup() {} };" }, 'PLUGIN_EXPORT', 'inject:a: its definition has no config schema; one without options is Type.Object({}).'],
    ['is for another stage than its manifest', { 'a/index.ts': injecting('a').replace("'inject'", "'train'") }, 'PLUGIN_MANIFEST_MISMATCH', 'inject:a: its definition is for stage train, and its manifest for stage inject.'],
    ['needs what its manifest does not list', { 'a/index.ts': injecting('a').replace('config:', "needs: { x: { name: 'clock' } }, config:") }, 'PLUGIN_MANIFEST_MISMATCH', 'inject:a: it needs the token clock, which "graft.consumes" in its package.json does not list.'],
    ['returns a hook without its function', { 'a/index.ts': injecting('a').replace('inject: async', 'injekt: async') }, 'PLUGIN_SHAPE', 'inject:a: its setup returned an object whose inject is not a function; it must return an object with inject().'],
    ['returns nothing', { 'a/index.ts': injecting('a', 'return;') }, 'PLUGIN_SHAPE', 'inject:a: its setup returned undefined; it must return an object with inject().'],
    ['has a schema that is none', { 'a/index.ts': injecting('a').replace('Type.Object({', "({ type: 'objekt' } as never) && Type.Unsafe({ type: 'objekt' }) || Type.Object({") }, 'PLUGIN_SCHEMA_INVALID', 'inject:a: its config schema is not a valid JSON schema: schema/type must be equal to one of the allowed values, schema/type must be array, schema/type must match a schema in anyOf.'],
    ['consumes what nobody provides', { 'a/package.json': manifest('a', { consumes: ['clock'] }) }, 'PROVIDER_MISSING', 'inject:a: what it consumes is not there: inject:a -> clock, which no plugin provides.'],
    ['consumes itself', { 'a/package.json': manifest('a', { consumes: ['inject:a'] }) }, 'DEPENDENCY_CYCLE', 'inject:a: plugins consume each other in a circle: inject:a -> inject:a.'],
    ['is for another API', { 'a/package.json': manifest('a', { api: '^9.0.0' }) }, 'API_MISMATCH', 'DIR/a/package.json: graft-a is written for plugin API ^9.0.0, and this is 1.0.0.'],
    ['has a broken manifest', { 'a/package.json': manifest('a', { swap: 'now' }) }, 'MANIFEST_INVALID', 'DIR/a/package.json: "graft.swap" is "now"; it must be "live" or "restart".'],
  ])('keeps the old generation when the new one %s', async (_, edit, code, message) => {
    const dir = tempDir();
    const good = { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one', telling('a')) };
    write(dir, good);
    const { kernel, says, slot, events, log } = await open(dir, { setupMs: 100 });
    write(dir, edit);
    await kernel.refresh();
    await kernel.refresh();
    const reason = message.replaceAll('DIR', dir);
    expect(await says('a')).toBe('one');
    expect(slot('inject:a')).toMatchObject({ state: 'active', reason, swaps: 0, failures: 1, current: { number: 1 }, draining: [] });
    expect(events.filter(({ type }) => type === 'swap-failed')).toEqual([{ type: 'swap-failed', plugin: 'inject:a', code, reason }]);
    expect(log.lines.filter(({ level }) => level === 'error')).toEqual([{ level: 'error', message: `${reason.replace(/\.$/, '')}. Generation 1 goes on serving.`, fields: { plugin: 'inject:a', code } }]);
    expect(seen.filter((each) => each !== 'undone')).toEqual(['setup a 1']);
    write(dir, good);
    await kernel.refresh();
    expect(slot('inject:a')).toMatchObject({ state: 'active', reason: undefined, swaps: 0 });
    write(dir, { ...good, 'a/index.ts': injecting('three') });
    await kernel.refresh();
    expect(await says('a')).toBe('three');
    expect(slot('inject:a')).toMatchObject({ state: 'active', reason: undefined, swaps: 1, current: { number: 2 } });
  });

  it('releases what a setup acquired before it failed, and what it acquires after it timed out', async () => {
    const dir = tempDir();
    const late = "scope.own('early', () => void globalThis.graftSeen.push('early')); await new Promise((resolve) => setTimeout(resolve, 60)); scope.own('late', () => void globalThis.graftSeen.push('late'));";
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('a', late) });
    const { slot } = await open(dir, { setupMs: 10 });
    expect(slot('inject:a')).toMatchObject({ state: 'failed', reason: 'inject:a: its setup did not finish within 10 ms.' });
    await vi.waitFor(() => expect(seen).toEqual(['early', 'late']));
  });

  it('reports an edit of a plugin that is swapped at restart, and does not activate it', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a', { swap: 'restart' }), 'a/index.ts': injecting('one') });
    const { kernel, says, slot } = await open(dir);
    write(dir, { 'a/index.ts': injecting('two') });
    await kernel.refresh();
    expect(await says('a')).toBe('one');
    expect(slot('inject:a')).toMatchObject({ state: 'active', swaps: 0, reason: 'inject:a was edited; it is swapped only when the host starts.' });
  });

  it('does not let one plugin\'s failure keep another from changing', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('a one'), 'b/package.json': manifest('b'), 'b/index.ts': injecting('b one') });
    const { kernel, says } = await open(dir);
    write(dir, { 'a/index.ts': 'const;', 'b/index.ts': injecting('b two') });
    await kernel.refresh();
    expect([await says('a'), await says('b')]).toEqual(['a one', 'b two']);
  });

  it('takes up a folder that is added, and lets go of one that is removed', async () => {
    const dir = tempDir();
    const { kernel, says, events, slot } = await open(dir);
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one', telling('a')) });
    await kernel.refresh();
    expect(await says('a')).toBe('one');
    const lease = kernel.lease('inject', 'a');
    rmSync(join(dir, 'a'), { recursive: true });
    await kernel.refresh();
    expect(kernel.names('inject')).toEqual([]);
    expect(await thrownBy(() => kernel.lease('inject', 'a'))).toMatchObject({ code: 'PLUGIN_UNKNOWN' });
    expect(slot('inject:a')).toMatchObject({ state: 'disabled', reason: 'Its folder is gone; calls in flight finish.', draining: [{ leases: 1 }] });
    expect((await lease.value.inject({} as never)).name).toBe('one');
    lease.release();
    await vi.waitFor(() => expect(events.map(({ type }) => type)).toEqual(['added', 'swapped', 'removed', 'disposed']));
    expect(kernel.explain().slots).toEqual([]);
    expect(seen).toEqual(['setup a 1', 'dispose second of a 1', 'dispose first of a 1']);
  });

  it('follows a plugin that moves to another folder', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one') });
    const { kernel, slot } = await open(dir);
    rmSync(join(dir, 'a'), { recursive: true });
    write(dir, { 'moved/package.json': manifest('a'), 'moved/index.ts': injecting('one') });
    await kernel.refresh();
    expect(slot('inject:a')).toMatchObject({ dir: join(dir, 'moved'), state: 'active', current: { number: 2 } });
  });
});

describe('configs in use', () => {
  const withOptions = (options: string, says: string): string => injecting(says).replace('{ r: Type.Integer({ default: 8 }) }', options);

  it('must fit the schema of a new generation, or it is not activated', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': withOptions('{ r: Type.Integer() }', 'one') });
    const { kernel, says, slot } = await open(dir);
    const config = { r: 8 };
    const unbind = kernel.bind('inject', 'a', config);
    const edit = async (options: string, name: string): Promise<string | undefined> => {
      write(dir, { 'a/index.ts': withOptions(options, name) });
      await kernel.refresh();
      return slot('inject:a').reason;
    };
    const refused = 'inject:a: a config that is in use does not fit its new schema:';
    expect(await edit('{ r: Type.Integer({ maximum: 4 }) }', 'two')).toBe(`${refused} config/r must be <= 4.`);
    expect(await edit('{ r: Type.String() }', 'three')).toBe(`${refused} config/r must be string.`);
    expect(await edit('{ r: Type.Integer(), scale: Type.Number() }', 'four')).toBe(`${refused} config must have required property 'scale'.`);
    expect(await edit('{ rank: Type.Integer({ default: 4 }) }', 'five')).toBe(`${refused} config has an option r, which the schema no longer knows.`);
    expect(await says('a')).toBe('one');
    expect(await edit('{ r: Type.Integer(), scale: Type.Number({ default: 1 }) }', 'six')).toBeUndefined();
    expect(await says('a')).toBe('six');
    expect(config).toEqual({ r: 8 });
    unbind();
    expect(await edit('{ r: Type.Integer({ maximum: 4 }) }', 'seven')).toBeUndefined();
    expect(await says('a')).toBe('seven');
    expect(kernel.schema('inject', 'a')).toMatchObject({ properties: { r: { maximum: 4 } } });
    expect(kernel.schema('inject', 'b')).toBeUndefined();
  });
});
