import { beforeEach, describe, expect, it } from 'vitest';
import type { KernelEvent, Logger } from '../../core/contracts/index.ts';
import { HostMetrics, type MetricsSource } from '../../core/host/metrics.ts';
import { parseExposition, valueOf, type Family } from '../support/exposition.ts';

let complaints: string[];
let source: MetricsSource;
beforeEach(() => {
  complaints = [];
  const log: Logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: (message) => void complaints.push(message), child: () => log };
  source = {
    log,
    capacity: { cpu: 4, memory_mb: 1000, gpu_memory_mb: 0 },
    jobs: async () => ({ waiting: 2, running: 1, paused: 0, succeeded: 7, failed: 0, cancelled: 0 }),
    taken: () => [{ cpu: 1.5, memory_mb: 300, gpu_memory_mb: 0 }, { cpu: 1, memory_mb: 200, gpu_memory_mb: 0 }],
    writable: () => true,
    ready: () => false,
  };
});

async function told(metrics: HostMetrics): Promise<ReadonlyMap<string, Family>> {
  return parseExposition(await metrics.text());
}

describe("the host's metrics", () => {
  it('are valid in their format, with what is asked for at that moment', async () => {
    const families = await told(new HostMetrics(source));
    expect(valueOf(families, 'graft_jobs', { state: 'waiting' })).toBe(2);
    expect(valueOf(families, 'graft_jobs', { state: 'failed' })).toBe(0);
    expect(valueOf(families, 'graft_cpu_capacity_cores')).toBe(4);
    expect(valueOf(families, 'graft_cpu_allocated_cores')).toBe(2.5);
    expect(valueOf(families, 'graft_memory_capacity_bytes')).toBe(1000 * 2 ** 20);
    expect(valueOf(families, 'graft_memory_allocated_bytes')).toBe(500 * 2 ** 20);
    expect(valueOf(families, 'graft_database_writable')).toBe(1);
    expect(valueOf(families, 'graft_ready')).toBe(0);
    expect(valueOf(families, 'process_resident_memory_bytes')).toBeGreaterThan(0);
  });

  it('count attempts, and why they end or are followed by another', async () => {
    const metrics = new HostMetrics(source);
    metrics.attemptBegan(700);
    metrics.attemptBegan(-3);
    metrics.attemptEnded({ state: 'waiting', reason: 'It died.', code: 'RUN_CRASHED', dueAt: 0 }, 200 * 2 ** 20);
    metrics.attemptEnded({ state: 'succeeded' });
    metrics.told({ type: 'step', step: 1, totalSteps: 2, epoch: 0, loss: 1, learningRate: 1, gradNorm: 1, tokens: 1, trainedTokens: 1, seconds: 2 });
    metrics.eventsWritten(5);
    metrics.eventsDropped(2);
    const families = await told(metrics);
    expect(valueOf(families, 'graft_run_attempts_total')).toBe(2);
    expect(valueOf(families, 'graft_run_restarts_total', { reason: 'RUN_CRASHED' })).toBe(1);
    expect(valueOf(families, 'graft_run_attempt_ends_total', { state: 'waiting', reason: 'RUN_CRASHED' })).toBe(1);
    expect(valueOf(families, 'graft_run_attempt_ends_total', { state: 'succeeded', reason: 'NONE' })).toBe(1);
    expect(valueOf(families, 'graft_queue_wait_seconds_bucket', { le: '0.5' })).toBe(1);
    expect(valueOf(families, 'graft_queue_wait_seconds_sum')).toBeCloseTo(0.7);
    expect(valueOf(families, 'graft_step_seconds_sum')).toBe(2);
    expect(valueOf(families, 'graft_run_peak_memory_bytes_bucket', { le: String(256 * 2 ** 20) })).toBe(1);
    expect(valueOf(families, 'graft_run_peak_memory_bytes_bucket', { le: String(128 * 2 ** 20) })).toBe(0);
    expect(valueOf(families, 'graft_events_written_total')).toBe(5);
    expect(valueOf(families, 'graft_events_dropped_total')).toBe(2);
  });

  it('count the swaps of plugins, and not their first generations', async () => {
    const metrics = new HostMetrics(source);
    const swapped = (number: number): KernelEvent => ({ type: 'swapped', generation: { plugin: 'inject:lora', version: '1.0.0', hash: 'a', number }, saveToActiveMs: 1 });
    [swapped(1), swapped(2), swapped(3), { type: 'swap-failed', plugin: 'inject:lora', code: 'A', reason: 'B' } as const].forEach((event) => metrics.kernelTold(event));
    const families = await told(metrics);
    expect(valueOf(families, 'graft_plugin_swaps_total', { result: 'swapped' })).toBe(2);
    expect(valueOf(families, 'graft_plugin_swaps_total', { result: 'failed' })).toBe(1);
  });

  it('do not become series without end where plugins make up codes', async () => {
    const metrics = new HostMetrics(source);
    for (let i = 0; i < 500; i++) metrics.attemptEnded({ state: 'failed', reason: 'No.', code: `CODE_${i}` });
    const { samples } = (await told(metrics)).get('graft_run_attempt_ends_total')!;
    expect(samples).toHaveLength(51);
    expect(samples.find(({ labels }) => labels['reason'] === 'OTHER')!.value).toBe(450);
  });

  it('are told without the jobs where those cannot be counted', async () => {
    const families = await told(new HostMetrics({ ...source, jobs: async () => Promise.reject(new Error('damaged')), writable: () => false }));
    expect(families.get('graft_jobs')!.samples).toEqual([]);
    expect(valueOf(families, 'graft_database_writable')).toBe(0);
    expect(complaints).toEqual(["The jobs can't be counted: damaged"]);
  });
});
