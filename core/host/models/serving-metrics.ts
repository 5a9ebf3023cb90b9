/** What serving tells Prometheus, beside the host's own metrics. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ServeCounts } from '../protocol.ts';
import type { ModelProcess } from './model-process.ts';

/** Seconds. */
const FIRST_TOKEN = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];
const NEXT_TOKEN = [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const REQUEST = [0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];
/** Texts and tokens of a pass. */
const SEQUENCES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

interface Counted {
  readonly reusedTokens: number;
  readonly preemptions: number;
  readonly loads: number;
  readonly evictions: number;
  readonly failures: number;
}
const NOTHING: Counted = { reusedTokens: 0, preemptions: 0, loads: 0, evictions: 0, failures: 0 };

/** A request as it ended. */
export interface Answered {
  readonly route: string;
  /** The base that answered; empty where none was asked. */
  readonly model: string;
  readonly status: number;
  readonly seconds: number;
}

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
  readonly #reused: Counter<'model'>;
  readonly #preemptions: Counter<'model'>;
  readonly #adapters: Gauge<'model'>;
  readonly #adapterBytes: Gauge<'model'>;
  readonly #adapterLoads: Counter<'model' | 'result'>;
  /** What each process has counted since it began, as it told last. */
  readonly #modelToCounted = new Map<string, Counted>();

  /** @param processes looked at when somebody asks */
  constructor(registry: Registry, processes: () => readonly ModelProcess[]) {
    const registers = [registry];
    const labelNames = ['model'] as const;
    const histogram = (name: string, help: string, buckets: number[]): Histogram<'model'> => new Histogram({ name, help, buckets, labelNames, registers });
    const gauge = (name: string, help: string): Gauge<'model'> => new Gauge({ name, help, labelNames, registers });
    this.#requests = new Counter({ name: 'graft_requests_total', help: 'Requests to OpenAI\'s routes that were answered, by status; `model` is the base, where one was asked.', labelNames: ['route', 'model', 'status'], registers });
    this.#seconds = new Histogram({ name: 'graft_request_seconds', help: 'From a request to the end of its answer.', buckets: REQUEST, labelNames: ['route', 'model'], registers });
    this.#firstToken = histogram('graft_time_to_first_token_seconds', 'From a text that is to be gone on with to its first token.', FIRST_TOKEN);
    this.#nextToken = histogram('graft_inter_token_latency_seconds', 'Between two tokens of a text.', NEXT_TOKEN);
    this.#tokens = new Counter({ name: 'graft_tokens_total', help: 'Tokens that went through the model, of prompts and of answers.', labelNames, registers });
    this.#batch = histogram('graft_batch_sequences', 'Texts in a pass of the model.', SEQUENCES);
    this.#kvUsed = gauge('graft_kv_cache_usage_ratio', 'Part of the memory for keys and values that is taken.');
    this.#running = new Gauge({ name: 'graft_sequences', help: 'Texts that are being generated, and that wait for it.', labelNames: ['model', 'state'], registers });
    this.#reused = new Counter({ name: 'graft_prefix_reused_tokens_total', help: 'Tokens of prompts that were not computed again.', labelNames, registers });
    this.#preemptions = new Counter({ name: 'graft_preemptions_total', help: "Texts whose keys and values were given up for others'.", labelNames, registers });
    this.#adapters = gauge('graft_adapters_loaded', 'Adapters in memory.');
    this.#adapterBytes = gauge('graft_adapters_bytes', 'Bytes of adapters in memory.');
    this.#adapterLoads = new Counter({ name: 'graft_adapter_loads_total', help: 'Adapters that were loaded, evicted, and that could not be loaded.', labelNames: ['model', 'result'], registers });
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

  /** @param route as it is registered; of `seconds` those of models alone are observed */
  answered({ route, model, status, seconds }: Answered): void {
    this.#requests.inc({ route, model, status: String(status) });
    if (model !== '') this.#seconds.observe({ route, model }, seconds);
  }

  /** The process of a base has ended: nothing of it is in memory any more, and the next one counts anew. */
  fell(model: string): void {
    this.#modelToCounted.delete(model);
    for (const gauge of [this.#kvUsed, this.#adapters, this.#adapterBytes]) gauge.set({ model }, 0);
    for (const state of ['running', 'waiting']) this.#running.set({ model, state }, 0);
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
    const before = this.#modelToCounted.get(model) ?? NOTHING;
    const now: Counted = { reusedTokens: batch.reusedTokens, preemptions: batch.preemptions, loads: adapters.loads, evictions: adapters.evictions, failures: adapters.failures };
    this.#modelToCounted.set(model, now);
    this.#reused.inc({ model }, now.reusedTokens - before.reusedTokens);
    this.#preemptions.inc({ model }, now.preemptions - before.preemptions);
    this.#adapters.set({ model }, adapters.loaded);
    this.#adapterBytes.set({ model }, adapters.bytes);
    for (const result of ['loads', 'evictions', 'failures'] as const) this.#adapterLoads.inc({ model, result }, now[result] - before[result]);
  }
}
