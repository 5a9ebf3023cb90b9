import { describe, expect, it } from 'vitest';
import type { Job } from '../../core/contracts/index.ts';
import { outcomeOf } from '../../core/host/outcome.ts';
import type { ProcessEnd } from '../../core/host/run-process.ts';

const CLOCK = { now: 1_000_000, retryMs: 5000 };

function job(attempts: number, halvings = 0): Job {
  return { id: 'job-1', name: 'run', payload: { runId: 'run', configFile: 'run.yaml', halvings }, resources: { cpu: 1, memory_mb: 1, gpu_memory_mb: 0 }, priority: 0, max_attempts: 5, state: 'running', attempts, charged: attempts, dueAt: 0, createdAt: 0 };
}

const died = (because: 'memory' | 'silence' | 'asked' | 'crash'): ProcessEnd => ({ kind: 'died', exitCode: null, signal: 'SIGSEGV', because, reason: 'It died.', lastLines: [] });
const failed = (code: string | undefined, lasting: boolean): ProcessEnd => ({ kind: 'told', end: { status: 'failed', reason: 'It is wrong.', code, lasting } });
const stopped: ProcessEnd = { kind: 'told', end: { status: 'stopped', reason: 'It was stopped after step 3.' } };

describe('what becomes of a job', () => {
  it('whose process died: another attempt, after a pause that doubles up to ten minutes', () => {
    expect([1, 2, 3, 9].map((attempts) => outcomeOf(job(attempts), died('crash'), undefined, CLOCK))).toMatchObject([
      { state: 'waiting', reason: 'It died.', code: 'RUN_CRASHED', dueAt: 1_005_000 },
      { dueAt: 1_010_000 },
      { dueAt: 1_020_000 },
      { dueAt: 1_600_000 },
    ]);
    expect(outcomeOf(job(1), died('silence'), undefined, CLOCK)).toMatchObject({ state: 'waiting', code: 'RUN_SILENT' });
  });

  it('whose config or data is bad: it has failed', () => {
    expect(outcomeOf(job(1), failed('BAD_ROWS', true), undefined, CLOCK)).toEqual({ state: 'failed', reason: 'It is wrong.', code: 'BAD_ROWS' });
  });

  it('that failed for a reason that nobody foresaw: another attempt', () => {
    expect(outcomeOf(job(1), failed(undefined, false), undefined, CLOCK)).toMatchObject({ state: 'waiting', code: 'RUN_FAILED', dueAt: 1_005_000 });
  });

  it('that ran out of memory: once more with half of the tokens, then it has failed', () => {
    expect(outcomeOf(job(1), died('memory'), undefined, CLOCK)).toMatchObject({ state: 'waiting', code: 'OUT_OF_MEMORY', payload: { runId: 'run', halvings: 1 } });
    expect(outcomeOf(job(2, 1), died('memory'), undefined, CLOCK)).toMatchObject({ state: 'failed', code: 'OUT_OF_MEMORY' });
  });

  it('whose disk is full: it is paused, not failed', () => {
    for (const lasting of [true, false]) expect(outcomeOf(job(1), failed('DISK_FULL', lasting), undefined, CLOCK)).toMatchObject({ state: 'paused', code: 'DISK_FULL' });
  });

  it('whose disk is full while it pauses because somebody asked: it stays paused', () => {
    const outcome = outcomeOf(job(1), failed('DISK_FULL', false), 'pause', CLOCK);
    expect(outcome).toEqual({ state: 'paused', reason: 'The disk is full: It is wrong. Its last checkpoint is kept.' });
  });

  it('whose run directory is still held by the attempt before: soon again, and not its fault', () => {
    expect(outcomeOf(job(1), failed('RUN_LOCKED', true), undefined, CLOCK)).toMatchObject({ state: 'waiting', counts: false, dueAt: 1_002_000 });
  });

  it.each([
    ['cancel', 'cancelled'],
    ['pause', 'paused'],
    ['shutdown', 'waiting'],
    ['swap', 'waiting'],
  ] as const)('that was asked to stop (%s): %s, whether it stopped or was killed over it', (asked, state) => {
    for (const end of [stopped, died('asked'), died('crash')]) expect(outcomeOf(job(1), end, asked, CLOCK)).toMatchObject({ state });
    expect(outcomeOf(job(1), { kind: 'told', end: { status: 'succeeded' } }, asked, CLOCK)).toEqual({ state: 'succeeded' });
  });

  it('whose host ended: at once again, and not its fault', () => {
    expect(outcomeOf(job(4), stopped, 'shutdown', CLOCK)).toMatchObject({ counts: false, dueAt: 1_000_000 });
  });

  it('that was asked to stop for a swap: at once again, whatever it ended with, and not its fault', () => {
    for (const end of [stopped, died('asked'), died('memory'), failed('BAD_ROWS', true)]) expect(outcomeOf(job(4), end, 'swap', CLOCK)).toMatchObject({ state: 'waiting', counts: false, dueAt: 1_000_000, payload: undefined });
  });

  it('that does not go on under a swapped config: at once again under the one before, with the reason, and not its fault', () => {
    const back = { runId: 'run', configFile: 'before.yaml', halvings: 1 };
    const swapped = { ...job(4), payload: { runId: 'run', configFile: 'after.yaml', halvings: 0, swap: { id: 'a', back } } };
    const swapping = { ...CLOCK, swapping: true };
    for (const end of [failed('PLUGIN_UNAVAILABLE', false), failed('BAD_ROWS', true), failed('OUT_OF_MEMORY', true)]) {
      const note = 'Its swap has been undone, for it could not go on so: It is wrong.';
      expect(outcomeOf(swapped, end, undefined, swapping)).toMatchObject({ state: 'waiting', counts: false, dueAt: 1_000_000, reason: note, payload: { ...back, note } });
    }
    for (const because of ['memory', 'silence', 'crash'] as const) expect(outcomeOf(swapped, died(because), undefined, swapping)).toMatchObject({ code: 'SWAP_UNDONE', payload: back });
    // Neither says anything about the config.
    expect(outcomeOf(swapped, failed('DISK_FULL', false), undefined, swapping)).toMatchObject({ state: 'paused' });
    expect(outcomeOf(swapped, failed('RUN_LOCKED', true), undefined, swapping)).toMatchObject({ code: 'RUN_LOCKED', payload: undefined });
    expect(outcomeOf(swapped, stopped, 'shutdown', swapping)).toMatchObject({ code: 'HOST_ENDED', payload: undefined });
    // It has gone on under it: then a crash is one like any other.
    expect(outcomeOf(swapped, died('crash'), undefined, CLOCK)).toMatchObject({ code: 'RUN_CRASHED', payload: undefined });
  });
});
