import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Kernel } from 'graft';
import { injecting, manifest, open, provider, providing, tempDir, write } from './support.ts';

let seen: string[];
beforeEach(() => void (seen = (globalThis as { graftSeen?: string[] }).graftSeen = []));
afterEach(() => void delete (globalThis as { graftSeen?: string[] }).graftSeen);

/** What the provider of a token says now. */
function ask(kernel: Kernel, token: string): string {
  const lease = kernel.leaseToken<string>(token);
  lease.release();
  return lease.value;
}

/** A setup that fails where what it needs holds a word. */
const refusing = (word: string): string => `if (Object.values(needs).some((each) => each.includes(${JSON.stringify(word)}))) throw new Error('not with ${word}');`;
const disposal = (name: string): string => `scope.own('it', () => void globalThis.graftSeen.push('${name} ' + generation.number));`;

describe('dependents', () => {
  it('swap with their provider, and are disposed before it', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1', [], disposal('a')));
    write(join(dir, 'b'), provider('b', 'b1', ['a'], disposal('b')));
    write(join(dir, 'c'), provider('c', 'c1', ['b'], disposal('c')));
    write(join(dir, 'other'), provider('other', 'o1', [], disposal('other')));
    const { kernel, slot, events } = await open(dir);
    expect(ask(kernel, 'c')).toBe('c1 < b1 < a1');
    expect(slot('b')).toMatchObject({ consumes: ['a'], dependents: ['c'], current: { holds: ['a generation 1', 'injection container', 'it'] } });
    const lease = kernel.leaseToken<string>('c');
    write(dir, { 'a/index.ts': providing('a', 'a2', [], disposal('a')) });
    await kernel.refresh();
    expect([ask(kernel, 'a'), ask(kernel, 'b'), ask(kernel, 'c')]).toEqual(['a2', 'b1 < a2', 'c1 < b1 < a2']);
    expect(events.filter(({ type }) => type === 'swapped').map((event) => ('generation' in event ? `${event.generation.plugin} ${event.generation.number}` : ''))).toEqual(['a 2', 'b 2', 'c 2']);
    expect(slot('other').swaps).toBe(0);
    expect(lease.value).toBe('c1 < b1 < a1');
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(seen).toEqual([]);
    lease.release();
    await vi.waitFor(() => expect(seen).toEqual(['c 1', 'b 1', 'a 1']));
  });

  it('get a stage plugin by `<stage>:<name>`', async () => {
    const dir = tempDir();
    write(dir, { 'lora/package.json': manifest('lora'), 'lora/index.ts': injecting('lora') });
    write(dir, {
      'mixed/package.json': manifest('mixed', { consumes: ['inject:lora'] }),
      'mixed/index.ts': `
import { definePlugin, token, Type } from 'graft';
export default definePlugin({
  stage: 'inject',
  config: Type.Object({}),
  needs: { lora: token('inject:lora') },
  setup: ({ needs }) => ({ inject: async (call) => ({ ...(await needs.lora.inject(call)), name: 'mixed of ' + (await needs.lora.inject(call)).name }) }),
});`,
    });
    const { kernel, says } = await open(dir);
    expect(await says('mixed')).toBe('mixed of lora');
    write(dir, { 'lora/index.ts': injecting('lora two') });
    await kernel.refresh();
    expect(await says('mixed')).toBe('mixed of lora two');
  });

  it('that cannot be set up with the edited provider keep it from serving: both stay as they were', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1', [], disposal('a')));
    write(join(dir, 'b'), provider('b', 'b1', ['a'], refusing('bad')));
    write(join(dir, 'c'), provider('c', 'c1', ['b']));
    const { kernel, slot, log } = await open(dir);
    write(dir, { 'a/index.ts': providing('a', 'bad', [], disposal('a')) });
    await kernel.refresh();
    expect([ask(kernel, 'a'), ask(kernel, 'b'), ask(kernel, 'c')]).toEqual(['a1', 'b1 < a1', 'c1 < b1 < a1']);
    const reason = `a: its dependent b cannot be set up with it, so both stay as they were: b failed in its setup: not with bad (${dir}/b/index.ts:8:74)`;
    expect(slot('a')).toMatchObject({ state: 'active', reason, failures: 1, current: { number: 1 } });
    expect(slot('b')).toMatchObject({ state: 'active', reason: undefined, failures: 0, current: { number: 1 } });
    expect(log.lines.filter(({ level }) => level === 'error').map(({ message }) => message)).toEqual([`${reason.replace(/\.$/, '')}. Generation 1 goes on serving.`]);
    expect(seen).toEqual(['a 2']);
    write(dir, { 'a/index.ts': providing('a', 'a3') });
    await kernel.refresh();
    expect(slot('a')).toMatchObject({ state: 'active', reason: undefined });
    expect(ask(kernel, 'c')).toBe('c1 < b1 < a3');
  });

  it('edited together with their provider, but broken, go on with their old code on the new provider', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1'));
    write(join(dir, 'b'), provider('b', 'b1', ['a']));
    const { kernel, slot } = await open(dir);
    write(dir, { 'a/index.ts': providing('a', 'a2'), 'b/index.ts': providing('b', 'b2', ['a'], "throw new Error('no');") });
    await kernel.refresh();
    expect(ask(kernel, 'b')).toBe('b1 < a2');
    expect(slot('b')).toMatchObject({ state: 'active', reason: `b failed in its setup: no (${dir}/b/index.ts:8:11)`, current: { number: 2 } });
    write(dir, { 'a/index.ts': providing('a', 'a3') });
    await kernel.refresh();
    expect(ask(kernel, 'b')).toBe('b1 < a3');
    expect(slot('b').reason).toBe(`b failed in its setup: no (${dir}/b/index.ts:8:11)`);
  });

  it('edited together with their provider, change with it in one step', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1'));
    write(join(dir, 'b'), provider('b', 'b1', ['a'], refusing('a2')));
    const { kernel, slot } = await open(dir);
    write(dir, { 'a/index.ts': providing('a', 'a2'), 'b/index.ts': providing('b', 'b2', ['a'], refusing('a1')) });
    await kernel.refresh();
    expect(ask(kernel, 'b')).toBe('b2 < a2');
    expect([slot('a').failures, slot('b').failures]).toEqual([0, 0]);
  });

  it('that are swapped only at restart keep their provider from changing', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1'));
    write(join(dir, 'b'), { ...provider('b', 'b1', ['a']), 'package.json': manifest('b', { provides: 'b', consumes: ['a'], swap: 'restart' }) });
    const { kernel, slot } = await open(dir);
    write(dir, { 'a/index.ts': providing('a', 'a2') });
    await kernel.refresh();
    expect(ask(kernel, 'b')).toBe('b1 < a1');
    expect(slot('a').reason).toBe('a: its dependent b cannot be set up with it, so both stay as they were: b is swapped only when the host starts');
  });

  it('wait for a provider that is not there, named with the full path, and start when it comes', async () => {
    const dir = tempDir();
    write(join(dir, 'b'), provider('b', 'b1', ['a']));
    write(join(dir, 'c'), provider('c', 'c1', ['b']));
    const { kernel, slot } = await open(dir);
    expect(slot('b')).toMatchObject({ state: 'pending', reason: 'It waits for b -> a, which no plugin provides.' });
    expect(slot('c')).toMatchObject({ state: 'pending', reason: 'It waits for c -> b -> a, which no plugin provides.' });
    expect(() => kernel.leaseToken('c')).toThrow('The plugin c cannot be used: It waits for c -> b -> a, which no plugin provides.');
    write(join(dir, 'a'), provider('a', 'a1', [], "throw new Error('not yet');"));
    await kernel.refresh();
    expect(slot('c')).toMatchObject({ state: 'pending', reason: `It waits for c -> b -> a, which failed: a failed in its setup: not yet (${dir}/a/index.ts:8:11).` });
    write(dir, { 'a/index.ts': providing('a', 'a2') });
    await kernel.refresh();
    expect(ask(kernel, 'c')).toBe('c1 < b1 < a2');
    expect(slot('c')).toMatchObject({ state: 'active', reason: undefined, current: { number: 1 } });
  });

  it('go back to waiting when their provider is removed', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1', [], disposal('a')));
    write(join(dir, 'b'), provider('b', 'b1', ['a'], disposal('b')));
    write(join(dir, 'c'), provider('c', 'c1', ['b'], disposal('c')));
    const { kernel, slot } = await open(dir);
    rmSync(join(dir, 'a'), { recursive: true });
    await kernel.refresh();
    expect(slot('c')).toMatchObject({ state: 'pending', reason: 'It waits for c -> b -> a, which no plugin provides.', current: undefined });
    await vi.waitFor(() => expect(seen).toEqual(['c 1', 'b 1', 'a 1']));
    write(join(dir, 'a'), provider('a', 'back'));
    await kernel.refresh();
    expect(ask(kernel, 'c')).toBe('c1 < b1 < back');
  });

  it('in a circle are named with the full path, and do not take others with them', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1', ['c']));
    write(join(dir, 'b'), provider('b', 'b1', ['a']));
    write(join(dir, 'c'), provider('c', 'c1', ['b']));
    write(join(dir, 'd'), provider('d', 'd1'));
    const { kernel, slot } = await open(dir);
    expect(slot('a')).toMatchObject({ state: 'failed', reason: 'a: plugins consume each other in a circle: a -> c -> b -> a.' });
    expect(slot('b')).toMatchObject({ state: 'pending', reason: 'It waits for b -> a, which failed: a: plugins consume each other in a circle: a -> c -> b -> a.' });
    expect(slot('c').state).toBe('pending');
    expect(ask(kernel, 'd')).toBe('d1');
    write(join(dir, 'a'), provider('a', 'a2'));
    await kernel.refresh();
    expect(ask(kernel, 'c')).toBe('c1 < b1 < a2');
  });

  it('that an edit would put in a circle keep the edit from serving', async () => {
    const dir = tempDir();
    write(join(dir, 'a'), provider('a', 'a1'));
    write(join(dir, 'b'), provider('b', 'b1', ['a']));
    const { kernel, slot } = await open(dir);
    write(join(dir, 'a'), provider('a', 'a2', ['b']));
    await kernel.refresh();
    expect(ask(kernel, 'b')).toBe('b1 < a1');
    expect(slot('a')).toMatchObject({ state: 'active', reason: expect.stringMatching(/^a: plugins consume each other in a circle: (a -> b -> a|b -> a -> b)\.$/) as string });
  });
});
