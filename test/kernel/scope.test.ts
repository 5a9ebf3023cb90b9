import { describe, expect, it } from 'vitest';
import { createScope } from '../../core/kernel/scope.ts';
import { memoryLog } from './support.ts';

describe('a scope', () => {
  it('releases last in, first out, and lists what it holds in the order acquired', async () => {
    const order: string[] = [];
    const scope = createScope('test', memoryLog());
    scope.own('first', () => void order.push('first'));
    const value = scope.use('second', { n: 2 }, ({ n }) => void order.push(`second ${n}`));
    const child = scope.child('third');
    child.own('inner', async () => void order.push('third > inner'));
    expect(value).toEqual({ n: 2 });
    expect(scope.holds).toEqual(['first', 'second', 'third', 'third > inner']);
    await scope.dispose();
    expect(order).toEqual(['third > inner', 'second 2', 'first']);
    expect(scope.holds).toEqual([]);
    expect(scope.failures).toEqual([]);
  });

  it('goes on after a disposer that fails, and names it', async () => {
    const order: string[] = [];
    const log = memoryLog();
    const scope = createScope('inject:x generation 2', log);
    scope.own('first', () => void order.push('first'));
    scope.own('socket', () => {
      throw new Error('already closed');
    });
    scope.own('file', () => Promise.reject(new Error('disk full')));
    await scope.dispose();
    expect(order).toEqual(['first']);
    expect(scope.failures).toEqual(['Disposing of file in inject:x generation 2 failed: disk full', 'Disposing of socket in inject:x generation 2 failed: already closed']);
    expect(log.lines.map(({ level, message }) => `${level} ${message}`)).toEqual(scope.failures.map((message) => `warn ${message}`));
  });

  it('leaves a disposer behind that takes too long, and names it', async () => {
    let reached = false;
    const scope = createScope('slow', memoryLog(), 20);
    scope.own('after', () => void (reached = true));
    scope.own('http server :8080', () => new Promise<void>(() => {}));
    await scope.dispose();
    expect(reached).toBe(true);
    expect(scope.failures).toEqual(['Disposing of http server :8080 in slow took longer than 20 ms and was left behind.']);
  });

  it('passes the failures of a child on, each disposer of it timed by itself', async () => {
    const scope = createScope('outer', memoryLog(), 20);
    const child = scope.child('inner');
    child.own('one', () => new Promise<void>(() => {}));
    child.own('two', () => new Promise<void>(() => {}));
    await scope.dispose();
    expect(scope.failures).toEqual(['Disposing of two in outer > inner took longer than 20 ms and was left behind.', 'Disposing of one in outer > inner took longer than 20 ms and was left behind.']);
  });

  it('releases one thing early, once', async () => {
    let released = 0;
    const scope = createScope('test', memoryLog());
    const release = scope.own('timer', () => void released++);
    await release();
    await release();
    await scope.dispose();
    expect(released).toBe(1);
  });

  it('forgets a child that was disposed on its own', async () => {
    let released = 0;
    const scope = createScope('test', memoryLog());
    const child = scope.child('request');
    child.own('buffer', () => void released++);
    await child.dispose();
    expect(scope.holds).toEqual([]);
    expect(child.signal.aborted).toBe(true);
    await scope.dispose();
    expect(released).toBe(1);
  });

  it('releases at once what is acquired after disposal began, and fires its signal first', async () => {
    let released = false;
    const scope = createScope('test', memoryLog());
    scope.own('early', () => expect(scope.signal.aborted).toBe(true));
    await scope.dispose();
    scope.own('late', () => void (released = true));
    expect(released).toBe(true);
    expect(scope.failures).toEqual([]);
    expect(scope.holds).toEqual([]);
  });
});
