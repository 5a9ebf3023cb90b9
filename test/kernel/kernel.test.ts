import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { injecting, manifest, open, provider, tempDir, thrownBy, write } from './support.ts';

let seen: string[];
beforeEach(() => void (seen = (globalThis as { graftSeen?: string[] }).graftSeen = []));
afterEach(() => void delete (globalThis as { graftSeen?: string[] }).graftSeen);

const disposal = (name: string): string => `scope.own('it', async () => { await null; globalThis.graftSeen.push('${name}'); });`;

describe('a kernel', () => {
  it('names the plugins of a stage, and the tokens with a prefix', async () => {
    const dir = tempDir();
    write(dir, { 'b/package.json': manifest('lora'), 'b/index.ts': injecting('b'), 'c/package.json': manifest('broken'), 'c/index.ts': 'const;' });
    for (const name of ['native', 'fast']) write(join(dir, name), provider(`engine:${name}`, name));
    const { kernel } = await open(dir);
    expect(kernel.names('inject')).toEqual(['broken', 'lora']);
    expect(kernel.names('engine:')).toEqual(['engine:fast', 'engine:native']);
    expect(kernel.names('train')).toEqual([]);
    expect(kernel.schema('inject', 'broken')).toBeUndefined();
  });

  it('leases a hook with its schema and the identity of its generation', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('a') });
    const { kernel, slot } = await open(dir);
    const lease = kernel.lease('inject', 'a');
    expect(lease.schema).toMatchObject({ type: 'object', properties: { r: { default: 8 } } });
    expect(lease.generation).toEqual({ plugin: 'inject:a', version: '0.1.0', hash: slot('inject:a').current!.hash, number: 1 });
    expect(kernel.schema('inject', 'a')).toBe(lease.schema);
    expect(slot('inject:a').current!.leases).toBe(1);
    lease.release();
    expect(slot('inject:a').current!.leases).toBe(0);
  });

  it('gives setup a log that says whose it is, and the identity of the generation', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('a', "log.warn(`I am ${generation.plugin} ${generation.number}`, { x: 1 });") });
    const { log } = await open(dir);
    expect(log.lines).toContainEqual({ level: 'warn', message: 'I am inject:a 1', fields: { plugin: 'inject:a', x: 1 } });
  });

  it('reports times, states and reasons as plain data', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('a', "scope.own('http server :1', () => {});") });
    const { kernel } = await open(dir);
    const { apiVersion, slots, rejected } = structuredClone(kernel.explain());
    expect([apiVersion, rejected]).toEqual(['1.0.0', []]);
    expect(slots).toMatchObject([{ id: 'inject:a', dir: join(dir, 'a'), state: 'active', consumes: [], dependents: [], draining: [], swaps: 0, failures: 0, current: { leases: 0, holds: ['injection container', 'http server :1'] } }]);
    const { buildMs, evaluateMs, setupMs, activatedAt } = slots[0]!.current!;
    expect([buildMs, evaluateMs, setupMs].every((ms) => ms >= 0 && Number.isFinite(ms))).toBe(true);
    expect(Math.abs(Date.now() - activatedAt.getTime())).toBeLessThan(60_000);
  });

  it('drops a subscriber that fails, says so, and goes on', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one') });
    const { kernel, log, events, says } = await open(dir);
    let calls = 0;
    kernel.on(() => {
      calls++;
      throw new Error('cannot draw');
    });
    write(dir, { 'a/index.ts': injecting('two') });
    await kernel.refresh();
    write(dir, { 'a/index.ts': injecting('three') });
    await kernel.refresh();
    expect(await says('a')).toBe('three');
    expect(calls).toBe(1);
    expect(events.filter(({ type }) => type === 'swapped')).toHaveLength(2);
    expect(log.lines.filter(({ level }) => level === 'error').map(({ message }) => message)).toEqual(["A subscriber to the kernel's events failed and was dropped: cannot draw"]);
    expect(log.lines.filter(({ level }) => level === 'info').map(({ message }) => message)).toEqual([
      expect.stringMatching(/^inject:a generation 2 serves, \d+ ms after the edit\.$/),
      expect.stringMatching(/^inject:a generation 3 serves, \d+ ms after the edit\.$/),
    ]);
  });

  it('tells nothing more to a subscriber that left', async () => {
    const dir = tempDir();
    const { kernel } = await open(dir);
    const heard: string[] = [];
    const leave = kernel.on(({ type }) => void heard.push(type));
    await leave();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one') });
    await kernel.refresh();
    expect(heard).toEqual([]);
  });

  it('takes refreshes that overlap one after the other', async () => {
    const dir = tempDir();
    write(dir, { 'a/package.json': manifest('a'), 'a/index.ts': injecting('one') });
    const { kernel, slot, says } = await open(dir);
    write(dir, { 'a/index.ts': injecting('two') });
    await Promise.all([kernel.refresh(), kernel.refresh(), kernel.refresh()]);
    expect(await says('a')).toBe('two');
    expect(slot('inject:a')).toMatchObject({ swaps: 1, failures: 0 });
  });

  it('disposes everything when it is disposed, dependents first, without waiting for leases; then there is nothing', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a', [], disposal('a')));
    write(join(dir, 'b'), provider('b', 'b', ['a', 'c'], disposal('b')));
    write(join(dir, 'c'), provider('c', 'c', ['a'], disposal('c')));
    const { kernel } = await open(dir);
    const lease = kernel.leaseToken('a', { pinned: true });
    await kernel.dispose();
    await kernel.dispose();
    expect(seen).toEqual(['b', 'c', 'a']);
    expect(lease.signal.aborted).toBe(true);
    expect(await thrownBy(() => kernel.leaseToken('a'))).toMatchObject({ code: 'PLUGIN_UNKNOWN' });
    await kernel.refresh();
    expect(kernel.explain().slots).toEqual([]);
  });
});
