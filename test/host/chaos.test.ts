import { expect, it } from 'vitest';
import { CAPACITY, chaos } from './chaos.ts';

it('brings every job to its end, once, as if nothing had happened, while runs and the host are killed', async () => {
  const report = await chaos({ jobs: 3, seed: 7, everySteps: 30, hostEvery: 3 });
  expect(report.states).toEqual(Array.from({ length: 3 }, () => 'succeeded'));
  expect(report.published).toEqual([1, 1, 1]);
  expect(report.losses[0]).toHaveLength(40);
  for (const losses of report.losses) expect(losses).toEqual(report.losses[0]);
  expect(report.mostCpu).toBeLessThanOrEqual(CAPACITY.cpu);
  expect(report.mostMemory).toBeLessThanOrEqual(CAPACITY.memory_mb);
  expect(report.hostKills).toBeGreaterThan(0);
  expect(report.childKills).toBeGreaterThan(0);
}, 300_000);
