import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JobLease, JobSpec } from 'graft';
import { SqliteDatabase } from '../../core/host/sqlite.ts';
import { SqliteQueue } from './queue.ts';

const SPEC: JobSpec = { name: 'run', payload: { runId: 'a' }, resources: { cpu: 1, memory_mb: 100, gpu_memory_mb: 0 }, priority: 0, max_attempts: 2 };
const LEASE_MS = 1000;
const HOLDER = 'this host';

let dir: string;
let database: SqliteDatabase;
let queue: SqliteQueue;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'queue-'));
  database = new SqliteDatabase(join(dir, 'graft.db'));
  queue = new SqliteQueue(database);
});
afterEach(() => {
  database.close();
  rmSync(dir, { recursive: true });
});

async function submitted(spec: Partial<JobSpec> = {}): Promise<string> {
  return (await queue.submit([{ ...SPEC, ...spec }]))[0]!.id;
}

async function claimed(id: string, now = Date.now()): Promise<JobLease> {
  return (await queue.claim(id, { now, leaseMs: LEASE_MS, holder: HOLDER }))!;
}

describe('a queue', () => {
  it('keeps jobs over a restart, as they were submitted', async () => {
    const id = await submitted({ group: 'sweep', priority: 3, payload: { runId: 'b', halvings: 1 } });
    database.close();
    database = new SqliteDatabase(join(dir, 'graft.db'));
    queue = new SqliteQueue(database);
    expect(await queue.get(id)).toMatchObject({ id, name: 'run', group: 'sweep', priority: 3, payload: { runId: 'b', halvings: 1 }, state: 'waiting', attempts: 0, resources: SPEC.resources });
  });

  it('queues all jobs of a submission or none', async () => {
    const broken = { ...SPEC, name: null as unknown as string };
    await expect(queue.submit([SPEC, broken])).rejects.toThrow(/NOT NULL/);
    const unkept = (): never => {
      throw new Error('no place for what is to be known of them');
    };
    await expect(queue.submit([SPEC, SPEC], unkept)).rejects.toThrow('no place');
    expect(await queue.list()).toEqual([]);
  });

  it('gives a job to one holder alone', async () => {
    const id = await submitted();
    expect(await claimed(id)).toMatchObject({ job: { id, state: 'running', attempts: 1 } });
    expect(await queue.claim(id, { now: Date.now(), leaseMs: LEASE_MS, holder: HOLDER })).toBeUndefined();
  });

  it('fences out a holder whose lease was lost, and publishes nothing of it', async () => {
    const id = await submitted();
    const old = await claimed(id);
    await queue.expire({ holder: 'another', now: old.expiresAt + 1, lost: () => ({ state: 'waiting', reason: 'lost', dueAt: 0 }) });
    const current = await claimed(id);
    let published = 0;
    expect(await queue.end(old, { state: 'succeeded' }, () => published++)).toBe(false);
    expect(await queue.renew(old, { now: Date.now(), leaseMs: LEASE_MS })).toBeUndefined();
    expect(await queue.end(current, { state: 'succeeded' }, () => published++)).toBe(true);
    expect(await queue.end(current, { state: 'succeeded' }, () => published++)).toBe(false);
    expect(published).toBe(1);
  });

  it('ends a job and publishes it together, or neither', async () => {
    const id = await submitted();
    const lease = await claimed(id);
    await expect(
      queue.end(lease, { state: 'succeeded' }, () => {
        throw new Error('no room');
      }),
    ).rejects.toThrow('no room');
    expect(await queue.get(id)).toMatchObject({ state: 'running' });
  });

  it('keeps a lease that is renewed, and takes back one that is not', async () => {
    const id = await submitted();
    const lease = await claimed(id);
    const renewed = await queue.renew(lease, { now: lease.expiresAt - 100, leaseMs: LEASE_MS });
    const lost = (now: number) => queue.expire({ holder: 'another', now, lost: () => ({ state: 'waiting', reason: 'It was lost.', dueAt: now }) });
    expect(await lost(lease.expiresAt + 500)).toEqual([]);
    expect(await lost(renewed!.expiresAt + 1)).toMatchObject([{ id, state: 'waiting', reason: 'It was lost.' }]);
  });

  it('takes back at its start what a host held before, whatever the time, and nothing of another', async () => {
    const [mine, other] = [await submitted(), await submitted()];
    await claimed(mine);
    await queue.claim(other, { now: Date.now(), leaseMs: LEASE_MS, holder: 'another' });
    const lost = () => ({ state: 'waiting', reason: 'The host ended.', dueAt: 0, counts: false }) as const;
    expect(await queue.expire({ now: 5_000_000_000_000, holder: 'another', lost })).toMatchObject([{ id: mine }]);
    await claimed(mine);
    expect(await queue.takeBack({ now: Date.now(), holder: HOLDER, working: [mine], lost })).toEqual([]);
    expect(await queue.takeBack({ now: Date.now(), holder: HOLDER, working: [], lost })).toMatchObject([{ id: mine, state: 'waiting', attempts: 2, charged: 0 }]);
    expect(await queue.get(other)).toMatchObject({ state: 'running' });
  });

  it('does not charge an attempt that was paused, and cancels rather than pauses', async () => {
    const id = await submitted({ max_attempts: 1 });
    await queue.end(await claimed(id), { state: 'paused', reason: 'for lunch' });
    expect(await queue.get(id)).toMatchObject({ state: 'paused', attempts: 1, charged: 0 });
    await queue.resume(id);
    const lease = await claimed(id);
    await queue.cancel(id, 'for good');
    await queue.end(lease, { state: 'paused', reason: 'The disk is full.' });
    expect(await queue.get(id)).toMatchObject({ state: 'cancelled' });
  });

  it('fails a job whose attempts are used up, and not by attempts that were not its fault', async () => {
    const id = await submitted({ max_attempts: 2 });
    const attempt = async (counts?: boolean): Promise<unknown> => {
      await queue.end(await claimed(id), { state: 'waiting', reason: 'It crashed.', dueAt: 0, counts });
      return (await queue.get(id))!.state;
    };
    expect(await attempt()).toBe('waiting');
    expect(await attempt(false)).toBe('waiting');
    expect(await attempt()).toBe('failed');
    expect(await queue.get(id)).toMatchObject({ reason: 'It crashed.', attempts: 3 });
  });

  it('tries a failed job again with all of its attempts', async () => {
    const id = await submitted({ max_attempts: 1 });
    await queue.end(await claimed(id), { state: 'waiting', reason: 'It crashed.', dueAt: 0 });
    expect(await queue.retry(id)).toMatchObject({ state: 'waiting', attempts: 1 });
    await queue.end(await claimed(id), { state: 'waiting', reason: 'Again.', dueAt: 0 });
    expect(await queue.get(id)).toMatchObject({ state: 'failed', attempts: 2 });
  });

  it('does not start a job before it is due', async () => {
    const id = await submitted();
    await queue.end(await claimed(id), { state: 'waiting', reason: 'It crashed.', dueAt: 5_000_000_000_000 });
    expect(await queue.due(Date.now())).toEqual([]);
    expect(await queue.claim(id, { now: Date.now(), leaseMs: LEASE_MS, holder: HOLDER })).toBeUndefined();
    expect(await queue.due(5_000_000_000_000)).toHaveLength(1);
  });

  it('pauses and cancels a waiting job at once, and resumes it', async () => {
    const id = await submitted();
    expect(await queue.pause(id, 'for lunch')).toMatchObject({ state: 'paused', reason: 'for lunch' });
    expect(await queue.due(Date.now())).toEqual([]);
    expect(await queue.resume(id)).toMatchObject({ state: 'waiting', reason: undefined });
    expect(await queue.cancel(id, 'for good')).toMatchObject({ state: 'cancelled' });
    expect(await queue.cancel(id, 'for good')).toBeUndefined();
    expect(await queue.resume(id)).toBeUndefined();
  });

  it('pauses for good who asks what an attempt paused for a reason that passes, and what it is about to', async () => {
    const full = { state: 'paused', reason: 'The disk is full.', code: 'DISK_FULL' } as const;
    const [id, other] = [await submitted(), await submitted()];
    await queue.end(await claimed(id), full);
    expect(await queue.get(id)).toMatchObject(full);
    expect(await queue.pause(id, 'for lunch')).toMatchObject({ state: 'paused', reason: 'for lunch', code: undefined });
    expect(await queue.pause(id, 'for lunch')).toBeUndefined();
    const lease = await claimed(other);
    await queue.pause(other, 'for lunch');
    await queue.end(lease, full);
    expect(await queue.get(other)).toMatchObject({ state: 'paused', reason: full.reason, code: undefined });
  });

  it('asks the holder of a running job, a cancellation before a pause', async () => {
    const id = await submitted();
    const lease = await claimed(id);
    expect(await queue.pause(id, 'for lunch')).toMatchObject({ state: 'running', request: 'pause' });
    expect(await queue.cancel(id, 'for good')).toMatchObject({ request: 'cancel' });
    expect(await queue.pause(id, 'for lunch')).toBeUndefined();
    expect(await queue.renew(lease, { now: Date.now(), leaseMs: LEASE_MS })).toMatchObject({ job: { request: 'cancel' } });
  });

  it('does what was asked where the holder died before it could', async () => {
    const id = await submitted();
    const lease = await claimed(id);
    await queue.cancel(id, 'for good');
    await queue.expire({ holder: 'another', now: lease.expiresAt + 1, lost: () => ({ state: 'waiting', reason: 'lost', dueAt: 0 }) });
    expect(await queue.get(id)).toMatchObject({ state: 'cancelled', reason: 'for good', request: undefined });
  });

  it('gives a job that does not run another payload at once, and one that runs when its attempt has ended', async () => {
    const [waiting, running] = [await submitted(), await submitted()];
    expect(await queue.swap(waiting, { runId: 'b' })).toMatchObject({ state: 'waiting', payload: { runId: 'b' }, request: undefined });
    await queue.pause(waiting, 'for lunch');
    expect(await queue.swap(waiting, { runId: 'c' })).toMatchObject({ state: 'paused', payload: { runId: 'c' } });
    const lease = await claimed(running);
    await queue.swap(running, { runId: 'b' });
    expect(await queue.swap(running, { runId: 'c' })).toMatchObject({ state: 'running', payload: { runId: 'a' }, request: 'swap' });
    expect(await queue.renew(lease, { now: Date.now(), leaseMs: LEASE_MS })).toMatchObject({ job: { request: 'swap' } });
    await queue.end(lease, { state: 'waiting', reason: 'It was stopped.', dueAt: 0, counts: false, payload: { runId: 'halved' } });
    expect(await queue.get(running)).toMatchObject({ state: 'waiting', payload: { runId: 'c' }, request: undefined, charged: 0 });
    expect((await claimed(running)).job).toMatchObject({ request: undefined });
  });

  it('pauses and cancels a job that is to be swapped, and swaps none that is being cancelled or has succeeded', async () => {
    const id = await submitted();
    const lease = await claimed(id);
    await queue.swap(id, { runId: 'b' });
    expect(await queue.pause(id, 'for lunch')).toMatchObject({ request: 'pause' });
    await queue.end(lease, { state: 'paused', reason: 'for lunch' });
    expect(await queue.get(id)).toMatchObject({ state: 'paused', payload: { runId: 'b' } });
    await queue.resume(id);
    const next = await claimed(id);
    await queue.cancel(id, 'for good');
    expect(await queue.swap(id, { runId: 'c' })).toBeUndefined();
    await queue.end(next, { state: 'cancelled', reason: 'for good' });
    expect(await queue.swap(id, { runId: 'd' })).toMatchObject({ state: 'cancelled', payload: { runId: 'd' } });
    await queue.retry(id);
    await queue.end(await claimed(id), { state: 'succeeded' });
    expect(await queue.swap(id, { runId: 'e' })).toBeUndefined();
  });

  it('keeps a swap that was asked for over the death of the holder', async () => {
    const id = await submitted();
    await claimed(id);
    await queue.swap(id, { runId: 'b' });
    const lost = () => ({ state: 'waiting', reason: 'The host ended.', dueAt: 0, counts: false }) as const;
    expect(await queue.takeBack({ now: Date.now(), holder: HOLDER, working: [], lost })).toMatchObject([{ id, state: 'waiting', payload: { runId: 'b' } }]);
  });

  it('lists newest first, by state and group, a page after another', async () => {
    const [a, b, c] = [await submitted({ group: 'g' }), await submitted(), await submitted({ group: 'g' })];
    await claimed(b);
    const ids = async (filter: Parameters<SqliteQueue['list']>[0]): Promise<readonly string[]> => (await queue.list(filter)).map(({ id }) => id);
    expect(await ids({})).toEqual([c, b, a]);
    expect(await ids({ states: ['running'] })).toEqual([b]);
    expect(await ids({ group: 'g' })).toEqual([c, a]);
    expect(await ids({ limit: 2 })).toEqual([c, b]);
    expect(await ids({ after: b })).toEqual([a]);
  });

  it('forgets a job that has ended, and none that has not', async () => {
    const id = await submitted();
    expect(await queue.remove(id)).toBe(false);
    await queue.cancel(id, 'for good');
    expect(await queue.remove(id)).toBe(true);
    expect(await queue.get(id)).toBeUndefined();
  });

  it('forgets a job and what else is kept of it together, or neither', async () => {
    const id = await submitted();
    await queue.cancel(id, 'No.');
    await expect(
      queue.remove(id, () => {
        throw new Error('not now');
      }),
    ).rejects.toThrow('not now');
    expect(await queue.get(id)).toMatchObject({ state: 'cancelled' });
    let forgotten = 0;
    expect(await queue.remove(id, () => void forgotten++)).toBe(true);
    expect(await queue.remove(id, () => void forgotten++)).toBe(false);
    expect(forgotten).toBe(1);
  });

  it('counts its jobs by their states', async () => {
    await submitted();
    await claimed(await submitted());
    await claimed(await submitted());
    expect(await queue.count()).toEqual({ waiting: 1, running: 2, paused: 0, succeeded: 0, failed: 0, cancelled: 0 });
  });
});
