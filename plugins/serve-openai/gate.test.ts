import { describe, expect, it } from 'vitest';
import { Gate } from './gate.ts';

const staying = new AbortController().signal;

/** Whether a promise has settled once everything that was ready to run has run. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(() => (done = true), () => (done = true));
  await new Promise((resolve) => setImmediate(resolve));
  return done;
}

describe('Gate', () => {
  it('lets the agreed number in and the next one in line when one leaves, first come first served', async () => {
    const gate = new Gate({ concurrent: 1, queue: 2 });
    const leave = await gate.enter(staying);
    const second = gate.enter(staying);
    const third = gate.enter(staying);
    expect(await settled(second)).toBe(false);
    leave();
    const leaveSecond = await second;
    expect(await settled(third)).toBe(false);
    leaveSecond();
    (await third)();
  });

  it('turns the next one away when the line is full, and says when to come back', async () => {
    const gate = new Gate({ concurrent: 1, queue: 1 });
    const leave = await gate.enter(staying);
    const waiting = gate.enter(staying);
    await expect(gate.enter(staying)).rejects.toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
      headers: { 'retry-after': '1' },
      message: 'The server is busy: 2 requests are being answered or wait. Try again in 1 s.',
    });
    leave();
    (await waiting)();
  });

  it('forgets a client that leaves the line', async () => {
    const gate = new Gate({ concurrent: 1, queue: 1 });
    const leave = await gate.enter(staying);
    const client = new AbortController();
    const waiting = gate.enter(client.signal);
    client.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    const next = gate.enter(staying);
    leave();
    (await next)();
  });

  it('frees one place when its leave is called twice', async () => {
    const gate = new Gate({ concurrent: 1, queue: 2 });
    const leave = await gate.enter(staying);
    const second = gate.enter(staying);
    const third = gate.enter(staying);
    leave();
    leave();
    await second;
    expect(await settled(third)).toBe(false);
  });
});
