/** What the host tells Prometheus: https://prometheus.io/docs/practices/naming */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import packageJson from '../../package.json' with { type: 'json' };
import type { JobState, KernelEvent, Logger, Outcome, Resources, RunEvent } from '../contracts/index.ts';
import { reasonOf } from '../kernel/errors.ts';

const MIB = 2 ** 20;
/** Seconds, from a job that starts at once to one that waits for days. */
const WAIT_BUCKETS = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600];
/** Seconds, from steps of test models to those of large ones on a CPU. */
const STEP_BUCKETS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000];
/** Bytes, 128 MiB to 512 GiB. */
const MEMORY_BUCKETS = Array.from({ length: 13 }, (_, i) => 128 * MIB * 2 ** i);
/** Codes that plugins make up are not to become series without end. */
const MOST_REASONS = 50;

/** What is looked at when somebody asks. */
export interface MetricsSource {
  readonly log: Logger;
  readonly capacity: Resources;
  readonly jobs: () => Promise<Readonly<Record<JobState, number>>>;
  /** What each run that runs now takes. */
  readonly taken: () => readonly Resources[];
  /** Whether the database can be written. */
  readonly writable: () => boolean;
  readonly ready: () => boolean;
}

/**
 * The host's metrics, in a registry of their own. Whoever measures something more registers it at `registry`.
 *
 * The names that all programs share (`process_cpu_seconds_total`, `nodejs_eventloop_lag_seconds`) go without a prefix, as every dashboard expects them.
 */
export class HostMetrics {
  readonly registry = new Registry();
  readonly #queueWait = this.#histogram('graft_queue_wait_seconds', 'From the moment at which a job may start to its start.', WAIT_BUCKETS);
  readonly #stepTime = this.#histogram('graft_step_seconds', 'Duration of training steps.', STEP_BUCKETS);
  readonly #peakMemory = this.#histogram('graft_run_peak_memory_bytes', 'The most resident memory of an attempt at a run, when it has ended.', MEMORY_BUCKETS);
  readonly #attempts = this.#counter('graft_run_attempts_total', 'Attempts at runs that were begun.');
  readonly #ends = this.#counter('graft_run_attempt_ends_total', 'Attempts at runs that have ended, by the state of the job then and why.', ['state', 'reason']);
  readonly #restarts = this.#counter('graft_run_restarts_total', 'Attempts that are followed by another one, by why.', ['reason']);
  readonly #swaps = this.#counter('graft_plugin_swaps_total', 'Edits of plugins that took effect, and that did not.', ['result']);
  readonly #written = this.#counter('graft_events_written_total', 'Events of runs that were written to the database.');
  readonly #dropped = this.#counter('graft_events_dropped_total', 'Events of runs that could not be written, and are lost.');
  readonly #reasons = new Set<string>();

  constructor(source: MetricsSource) {
    collectDefaultMetrics({ register: this.registry });
    this.#gauge('graft_build_info', 'Version of Graft.', ['version']).set({ version: packageJson.version }, 1);
    for (const result of ['swapped', 'failed']) this.#swaps.inc({ result }, 0);
    this.#collected('graft_jobs', 'Jobs in the queue, by state.', ['state'], async (gauge) => {
      gauge.reset();
      try {
        for (const [state, count] of Object.entries(await source.jobs())) gauge.set({ state }, count);
      } catch (error) {
        // The others are told all the same; what is missing here is seen there.
        source.log.error(`The jobs can't be counted: ${reasonOf(error)}`);
      }
    });
    const resource = (name: string, unit: string, of: (resources: Resources) => number): void => {
      this.#gauge(`graft_${name}_capacity_${unit}`, 'What runs may take together.').set(of(source.capacity));
      this.#collected(`graft_${name}_allocated_${unit}`, 'What was given to the runs that run now.', [], (gauge) => gauge.set(source.taken().reduce((sum, taken) => sum + of(taken), 0)));
    };
    resource('cpu', 'cores', ({ cpu }) => cpu);
    resource('memory', 'bytes', ({ memory_mb }) => memory_mb * MIB);
    resource('gpu_memory', 'bytes', ({ gpu_memory_mb }) => gpu_memory_mb * MIB);
    this.#collected('graft_database_writable', '1 where the database could be written at the last look.', [], (gauge) => gauge.set(source.writable() ? 1 : 0));
    this.#collected('graft_ready', '1 where the host can take work.', [], (gauge) => gauge.set(source.ready() ? 1 : 0));
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** @param waitedMs since it was due */
  attemptBegan(waitedMs: number): void {
    this.#attempts.inc();
    this.#queueWait.observe(Math.max(0, waitedMs) / 1000);
  }

  /** @param peakBytes where there was a process */
  attemptEnded(outcome: Outcome, peakBytes?: number): void {
    const reason = this.#reason(outcome.state === 'succeeded' ? 'NONE' : (outcome.code ?? 'NONE'));
    this.#ends.inc({ state: outcome.state, reason });
    if (outcome.state === 'waiting') this.#restarts.inc({ reason });
    if (peakBytes !== undefined && peakBytes > 0) this.#peakMemory.observe(peakBytes);
  }

  told(event: RunEvent): void {
    if (event.type === 'step') this.#stepTime.observe(event.seconds);
  }

  eventsWritten(count: number): void {
    this.#written.inc(count);
  }

  eventsDropped(count: number): void {
    this.#dropped.inc(count);
  }

  /** The first generation of a plugin is no swap. */
  kernelTold(event: KernelEvent): void {
    if (event.type === 'swapped' && event.generation.number > 1) this.#swaps.inc({ result: 'swapped' });
    if (event.type === 'swap-failed') this.#swaps.inc({ result: 'failed' });
  }

  /** In Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats */
  text(): Promise<string> {
    return this.registry.metrics();
  }

  #reason(code: string): string {
    if (!this.#reasons.has(code) && this.#reasons.size >= MOST_REASONS) return 'OTHER';
    this.#reasons.add(code);
    return code;
  }

  #counter<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #gauge<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: [this.registry] });
  }

  #collected<L extends string>(name: string, help: string, labelNames: readonly L[], collect: (gauge: Gauge<L>) => void | Promise<void>): void {
    new Gauge({
      ...{ name, help, labelNames, registers: [this.registry] },
      collect() {
        return collect(this);
      },
    });
  }

  #histogram(name: string, help: string, buckets: readonly number[]): Histogram {
    return new Histogram({ name, help, buckets: [...buckets], registers: [this.registry] });
  }
}
