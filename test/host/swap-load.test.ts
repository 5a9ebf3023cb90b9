import { expect, it } from 'vitest';
import { swapUnderLoad } from './swap-load.ts';

it('fails no request while plugins are edited, well and badly, and tells of every edit that is broken', async () => {
  const report = await swapUnderLoad({ edits: 12, broken: 4, requestsPerSecond: 10, seconds: 1 });
  expect(report.failed).toEqual([]);
  expect(report.seen).toBe(4);
  expect(report.requests).toBeGreaterThan(5);
  expect(report.fingerprints).toBeGreaterThan(2);
}, 180_000);
