/** What serving tells Prometheus, beside the host's own metrics. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ServeCounts } from '../protocol.ts';
import type { Forwarded } from '../openai/proxy.ts';
import type { ModelProcess } from './model-process.ts';

/** Seconds. */
const FIRST_TOKEN = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];
const NEXT_TOKEN = [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const REQUEST = [0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];
/** Texts and tokens of a pass. */
const SEQUENCES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** Names follow vLLM's where it measures the same. A request's `model` is told as its base: names of adapters are without end. */
export class ServingMetrics {
  readonly #requests: Counter<'route' | 'model' | 'status'>;
  readonly #seconds: Histogram<'route' | 'model'>;
  readonly #firstToken: Histogram<'model'>;
  readonly #nextToken: Histogram<'model'>;
  readonly #tokens: Counter<'model'>;
  readonly #batch: Histogram<'model'>;
  readonly #kvUsed: Gauge<'model'>;
  readonly #running: Gauge<'model' | 'state'>;
  readonly #reused: Gauge<'model'>;
  readonly #preemptions: Gauge<'model'>;
  readonly #adapters: Gauge<'model'>;
  readonly #adapterBytes: Gauge<'model'>;
  readonly #adapterLoads: Gauge<'model' | 'result'>;

  /** @param processes looked at when somebody asks */
  constructor(registry: Registry, processes: () => readonly ModelProcess[]) {
    const registers = [registry];
    const labelNames = ['model'] as const;
    const histogram = (name: string, help: string, buckets: number[]): Histogram<'model'> => new Histogram({ name, help, buckets, labelNames, registers });
    const gauge = (name: string, help: string): Gauge<'model'> => new Gauge({ name, help, labelNames, registers });
    this.#requests = new Counter({ name: 'graft_requests_total', help: 'Requests of models that were answered, by status.', labelNames: ['route', 'model', 'status'], registers });
    this.#seconds = new Histogram({ name: 'graft_request_seconds', help: 'From a request to the end of its answer.', buckets: REQUEST, labelNames: ['route', 'model'], registers });
    this.#firstToken = histogram('graft_time_to_first_token_seconds', 'From a text that is to be gone on with to its first token.', FIRST_TOKEN);
    this.#nextToken = histogram('graft_inter_token_latency_seconds', 'Between two tokens of a text.', NEXT_TOKEN);
    this.#tokens = new Counter({ name: 'graft_tokens_total', help: 'Tokens that went through the model, of prompts and of answers.', labelNames, registers });
    this.#batch = histogram('graft_batch_sequences', 'Texts in a pass of the model.', SEQUENCES);
    this.#kvUsed = gauge('graft_kv_cache_usage_ratio', 'Part of the memory for keys and values that is taken.');
    this.#running = new Gauge({ name: 'graft_sequences', help: 'Texts that are being generated, and that wait for it.', labelNames: ['model', 'state'], registers });
    this.#reused = gauge('graft_prefix_reused_tokens', 'Tokens of prompts that were not computed again, since the process began.');
    this.#preemptions = gauge('graft_preemptions', "Texts whose keys and values were given up for others', since the process began.");
    this.#adapters = gauge('graft_adapters_loaded', 'Adapters in memory.');
    this.#adapterBytes = gauge('graft_adapters_bytes', 'Bytes of adapters in memory.');
    this.#adapterLoads = new Gauge({ name: 'graft_adapter_loads', help: 'Adapters that were loaded, evicted, and that could not be loaded, since the process began.', labelNames: ['model', 'result'], registers });
    const looked = (name: string, help: string, look: (process: ModelProcess) => number): void =>
      void new Gauge({
        ...{ name, help, labelNames, registers },
        collect() {
          for (const process of processes()) this.set({ model: process.id }, look(process));
        },
      });
    looked('graft_model_up', '1 where a base is served.', ({ state }) => (state === 'serving' ? 1 : 0));
    looked('graft_model_restarts', 'How often the process of a base was started again.', ({ restarts }) => restarts);
  }

  answered(route: string, model: string, { status, seconds }: Forwarded): void {
    this.#requests.inc({ route, model, status: String(status) });
    this.#seconds.observe({ route, model }, seconds);
  }

  counted(model: string, { passes, firstTokens, nextTokens, batch, adapters }: ServeCounts): void {
    for (const { sequences, tokens } of passes) {
      this.#batch.observe({ model }, sequences);
      this.#tokens.inc({ model }, tokens);
    }
    for (const seconds of firstTokens) this.#firstToken.observe({ model }, seconds);
    for (const seconds of nextTokens) this.#nextToken.observe({ model }, seconds);
    this.#kvUsed.set({ model }, batch.kvBytes / batch.kvLimitBytes);
    this.#running.set({ model, state: 'running' }, batch.running);
    this.#running.set({ model, state: 'waiting' }, batch.waiting);
    this.#reused.set({ model }, batch.reusedTokens);
    this.#preemptions.set({ model }, batch.preemptions);
    this.#adapters.set({ model }, adapters.loaded);
    this.#adapterBytes.set({ model }, adapters.bytes);
    for (const result of ['loads', 'evictions', 'failures'] as const) this.#adapterLoads.set({ model, result }, adapters[result]);
  }
}
