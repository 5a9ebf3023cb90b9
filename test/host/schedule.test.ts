import { describe, expect, it } from 'vitest';
import type { Job, Resources } from '../../core/contracts/index.ts';
import { schedule } from '../../core/host/schedule.ts';

const MINUTE = 60_000;
const RULES = { ageingMs: 10 * MINUTE, reserveMs: 30 * MINUTE };
const NOW = 1_000 * MINUTE;
const CAPACITY: Resources = { cpu: 4, memory_mb: 8000, gpu_memory_mb: 0 };

function job(id: string, options: Partial<Job> & { readonly needs?: Partial<Resources>; readonly waited?: number } = {}): Job {
  const { needs, waited = 0, ...rest } = options;
  return {
    ...{ id, name: `run ${id}`, payload: {}, priority: 0, max_attempts: 3, state: 'waiting', attempts: 0, charged: 0, createdAt: 0 },
    dueAt: NOW - waited * MINUTE,
    resources: { cpu: 1, memory_mb: 1000, gpu_memory_mb: 0, ...needs },
    ...rest,
  };
}

const started = (...parameters: Parameters<typeof schedule>): readonly string[] => schedule(...parameters).start.map(({ id }) => id);

describe('a schedule', () => {
  it('starts the higher priority first, and of equals the older', () => {
    expect(started([job('a', { waited: 2 }), job('b', { priority: 5 }), job('c', { waited: 1 })], [], CAPACITY, NOW, RULES)).toEqual(['b', 'a', 'c']);
  });

  it('lets a point of priority be outweighed by having waited longer than ten minutes', () => {
    const one = { ...CAPACITY, cpu: 1 };
    expect(started([job('old', { waited: 11 }), job('new', { priority: 1 })], [], one, NOW, RULES)).toEqual(['old']);
    expect(started([job('old', { waited: 9 }), job('new', { priority: 1 })], [], one, NOW, RULES)).toEqual(['new']);
  });

  it('never starts more than there is room for beside what runs, of any kind', () => {
    const due = [job('a', { needs: { cpu: 1.5 } }), job('b', { needs: { cpu: 0.5, memory_mb: 4000 } }), job('c')];
    const { start, waits } = schedule(due, [{ cpu: 2, memory_mb: 4500, gpu_memory_mb: 0 }], CAPACITY, NOW, RULES);
    expect(start.map(({ id }) => id)).toEqual(['a']);
    expect(waits.get('b')).toBe('It needs 4000 MiB of memory, and 2500 of 8000 are free.');
    expect(waits.get('c')).toBe('It needs 1 core, and 0.5 of 4 are free.');
  });

  it('lets small jobs pass by a large one, until that has waited for long', () => {
    const running = [{ cpu: 2, memory_mb: 1000, gpu_memory_mb: 0 }];
    const due = (waited: number): Job[] => [job('large', { needs: { cpu: 4 }, waited }), job('small')];
    expect(started(due(29), running, CAPACITY, NOW, RULES)).toEqual(['small']);
    const { start, waits } = schedule(due(31), running, CAPACITY, NOW, RULES);
    expect(start).toEqual([]);
    expect(waits.get('small')).toBe('What becomes free is kept for run large (large), which has waited for 31 min.');
  });

  it('says what can never start here, and keeps nothing free for it', () => {
    const { start, waits } = schedule([job('huge', { needs: { gpu_memory_mb: 100 }, waited: 100 }), job('small')], [], CAPACITY, NOW, RULES);
    expect(start.map(({ id }) => id)).toEqual(['small']);
    expect(waits.get('huge')).toBe("It needs 100 MiB of GPU memory, and this host has 0 MiB of GPU memory: it can't start here.");
  });

  it('fills a core with fractions of it', () => {
    const tenths = Array.from({ length: 11 }, (_, i) => job(String(i), { needs: { cpu: 0.1 } }));
    expect(started(tenths, [], { ...CAPACITY, cpu: 1, memory_mb: 1e6 }, NOW, RULES)).toHaveLength(10);
  });
});
