import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RunEvent } from '../../core/contracts/index.ts';
import { Housekeeping } from '../../core/host/housekeeping.ts';
import { FileStore } from '../../core/host/openai/file-store.ts';
import { RunStore } from '../../core/host/run-store.ts';
import { SqliteDatabase } from '../../core/host/sqlite.ts';
import { stderrLogger } from '../../core/host/stderr-log.ts';
import { SqliteQueue } from '../../plugins/queue-sqlite/queue.ts';

const DAY_MS = 86_400_000;
const STEPS = 1203;

let dir: string;
let database: SqliteDatabase;
let queue: SqliteQueue;
let runs: RunStore;
let files: FileStore;
/** File -> the job that has yet to read it. */
const needed = new Map<string, string>();
let backups: number;
let housekeeping: Housekeeping;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'housekeeping-'));
  database = new SqliteDatabase(join(dir, 'graft.db'));
  queue = new SqliteQueue(database);
  runs = new RunStore(database);
  files = new FileStore(join(dir, 'files'), database, 1e6, () => undefined);
  backups = 0;
  housekeeping = new Housekeeping({ log: stderrLogger('error'), queue, runs, files, readerOf: async (file) => needed.get(file), keepDays: 30, backUp: async () => void backups++ });
});
afterEach(async () => {
  await housekeeping.stop();
  database.close();
  rmSync(dir, { recursive: true });
});

/** A job with an attempt that has told of its steps. */
async function told(outcome: 'succeeded' | 'paused' | undefined): Promise<string> {
  const [job] = await queue.submit([{ name: 'run', payload: {}, resources: { cpu: 1, memory_mb: 1, gpu_memory_mb: 0 }, priority: 0, max_attempts: 1 }]);
  const lease = (await queue.claim(job!.id, { now: Date.now(), leaseMs: 1000, holder: 'here' }))!;
  runs.beginAttempt(job!.id, 1, 1);
  const step = (i: number): RunEvent => ({ type: 'step', step: i + 1, totalSteps: STEPS, epoch: 0, loss: i, learningRate: 1, gradNorm: 1, tokens: 1, trainedTokens: 1, seconds: 1 });
  runs.record(job!.id, Array.from({ length: STEPS }, (_, i) => ({ at: Date.now(), event: step(i) })));
  if (outcome === undefined) return job!.id;
  await queue.end(lease, outcome === 'succeeded' ? { state: outcome } : { state: outcome, reason: 'It was paused.' }, () => runs.endAttempt(job!.id, 1, {}));
  return job!.id;
}

const kept = (id: string): readonly [number, number] => [runs.events(id, 0, 1_000_000).length, runs.losses(id).length];

describe('what jobs have told', () => {
  it('is forgotten when they ended more than the days to keep ago, and what they came to is not', async () => {
    const id = await told('succeeded');
    expect(await housekeeping.prune(Date.now() + 29 * DAY_MS)).toBe(0);
    expect(kept(id)).toEqual([STEPS, STEPS]);
    expect(await housekeeping.prune(Date.now() + 31 * DAY_MS)).toBe(2 * STEPS);
    expect(kept(id)).toEqual([0, 0]);
    expect(runs.attempts(id)).toHaveLength(1);
    expect(await queue.get(id)).toMatchObject({ state: 'succeeded' });
    expect(await housekeeping.prune(Date.now() + 31 * DAY_MS)).toBe(0);
  });

  it('stays with jobs that have not ended, however old', async () => {
    const ids = [await told('paused'), await told(undefined)];
    expect(await housekeeping.prune(Date.now() + 1000 * DAY_MS)).toBe(0);
    for (const id of ids) expect(kept(id)).toEqual([STEPS, STEPS]);
  });

  it('stays with a job that was tried again since', async () => {
    const id = await told('succeeded');
    runs.beginAttempt(id, 2, 1);
    const later = Date.now() + 31 * DAY_MS;
    database.run('UPDATE host_attempts SET started_at = :later WHERE number = 2', { later });
    expect(await housekeeping.prune(later)).toBe(0);
    expect(kept(id)).toEqual([STEPS, STEPS]);
  });
});

describe('an uploaded file', () => {
  const keep = async (lifeMs?: number): Promise<string> => (await files.keep(await files.receive(Readable.from([Buffer.from('{}\n')]), 100), 'a.jsonl', 'fine-tune', lifeMs)).id;

  it('is removed when it has expired, and one that was kept for good is not', async () => {
    const [short, long, good] = [await keep(3_600_000), await keep(2 * DAY_MS), await keep()];
    expect(await housekeeping.expire(Date.now() + 3_590_000)).toBe(0);
    expect(await housekeeping.expire(Date.now() + 3_600_001)).toBe(1);
    expect([short, long, good].map((id) => files.get(id) !== undefined)).toEqual([false, true, true]);
    expect(readdirSync(join(dir, 'files')).sort()).toEqual([`${long}.jsonl`, `${good}.jsonl`].sort());
    expect(await housekeeping.expire(Date.now() + 1000 * DAY_MS)).toBe(1);
    expect(files.get(good)).toMatchObject({ expiresAt: undefined });
  });

  it('stays for as long as a job has yet to read it', async () => {
    const id = await keep(3_600_000);
    needed.set(id, 'job-1');
    expect(await housekeeping.expire(Date.now() + DAY_MS)).toBe(0);
    needed.delete(id);
    expect(await housekeeping.expire(Date.now() + DAY_MS)).toBe(1);
  });
});

it('backs up when it starts', async () => {
  await housekeeping.start();
  expect(backups).toBe(1);
});
