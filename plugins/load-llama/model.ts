/** A Llama or Mistral as strategies, trainers and servers see it. */
import {
  GraftError,
  IGNORED,
  portableCachedAttention,
  positionsOf,
  recomputed,
  shiftLabels,
  tf,
  type CachedAttention,
  type CausalLM,
  type Engine,
  type ForwardOptions,
  type GraftTarget,
  type KVCache,
  type PackedBatch,
  type Parameter,
} from 'graft';
import { EMBEDDING, FINAL_NORM, LM_HEAD } from './architecture.ts';
import { LlamaCache } from './cache.ts';
import type { LlamaConfig } from './config.ts';
import { DecoderLayer, runNorm, type ParametersByName } from './decoder-layer.ts';
import { Head } from './head.ts';
import type { LlamaParameter } from './parameter.ts';
import { Pass, type StackName } from './pass.ts';
import { RotaryTable } from './rope.ts';
import { joinRows, takeIntegers } from './rows.ts';
import { saveModel, type ModelOrigin } from './save.ts';
import type { LlamaSite } from './site.ts';

type LogitsOptions = NonNullable<Parameters<CausalLM['logits']>[1]>;
type StackChoice = ForwardOptions['stack'];

export class LlamaModel implements CausalLM {
  readonly config: LlamaConfig;
  readonly engine: Engine;
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly sitePaths: readonly string[];
  readonly #origin: ModelOrigin;
  readonly #parameters: ParametersByName;
  readonly #layers: readonly DecoderLayer[];
  readonly #head: Head;
  readonly #sites: ReadonlyMap<string, LlamaSite>;
  readonly #rotary: RotaryTable;
  readonly #cached: CachedAttention;
  readonly #stacks = new Set<string>();

  /** @param parameters every tensor that `parameterShapes` names; taken over */
  constructor(config: LlamaConfig, engine: Engine, parameters: ParametersByName, origin: ModelOrigin) {
    this.config = config;
    this.engine = engine;
    this.parameters = parameters;
    this.#parameters = parameters;
    this.#origin = origin;
    this.#cached = engine.cachedAttention ?? portableCachedAttention(engine.ops);
    this.#layers = Array.from({ length: config.num_hidden_layers }, (_, index) => new DecoderLayer(index, config, parameters, engine.ops, this.#cached));
    this.#head = new Head(config, parameters.get(config.tie_word_embeddings ? EMBEDDING : LM_HEAD)!, engine.ops);
    this.#sites = new Map([...this.#layers.flatMap((layer) => [...layer.sites.values()]), this.#head.site].map((site) => [site.shape.path, site]));
    this.sitePaths = [...this.#sites.keys()];
    this.#rotary = new RotaryTable(config.head_dim, config.rope);
  }

  target(stack: string): GraftTarget {
    this.#stacks.add(stack);
    return {
      stack,
      engine: this.engine,
      config: this.config,
      baseModel: this.#origin.name,
      sites: new Map([...this.#sites].map(([path, site]) => [path, site.in(stack)])),
      parameters: new Map([...this.#parameters].map(([name, parameter]) => [name, parameter.in(stack)])),
    };
  }

  /** @throws GraftError `BATCH_SHAPE`, `TOKEN_UNKNOWN` or `STACK_UNKNOWN` */
  forward(batch: PackedBatch, options: ForwardOptions = {}): tf.Tensor2D {
    checkBatch(batch, this.config.vocab_size);
    const caches = options.caches?.map(asLlamaCache);
    const pass = this.#pass(batch.offsets, options, batch.positions, caches);
    try {
      const hidden = tf.tidy(() => {
        pass.rotation();
        let x = this.#embed(batch.inputIds, pass);
        for (const layer of this.#layers) {
          const next = options.recompute === 'block' ? recomputed((input) => layer.run(input, pass), x) : layer.run(x, pass);
          x.dispose();
          x = next;
        }
        return runNorm(this.#parameters.get(FINAL_NORM)!, x, pass, this.config.rms_norm_eps, this.engine.ops);
      });
      caches?.forEach((cache, segment) => cache.commit(batch.offsets[segment + 1]! - batch.offsets[segment]!));
      return hidden;
    } catch (error) {
      caches?.forEach((cache) => cache.rollback());
      throw error;
    }
  }

  logits(hidden: tf.Tensor2D, options: LogitsOptions = {}): tf.Tensor2D {
    const { rows, offsets = Int32Array.of(0, hidden.shape[0]) } = options;
    const pass = this.#pass(offsets, options, positionsOf(offsets));
    return tf.tidy(() => (rows === undefined ? this.#head.logits(hidden, pass) : this.#head.logits(tf.gather(hidden, tf.tensor1d(rows, 'int32')), pass.ofRows(rows))));
  }

  loss(batch: PackedBatch, options: ForwardOptions = {}): tf.Tensor1D {
    const targets = shiftLabels(batch.labels, batch.offsets);
    checkTargets(targets, this.config.vocab_size);
    return tf.tidy(() => this.#head.losses(this.forward(batch, options), targets, this.#pass(batch.offsets, options, batch.positions)));
  }

  createCache(): KVCache {
    const { num_hidden_layers: layers, num_key_value_heads: heads, head_dim: size } = this.config;
    return new LlamaCache(this.#cached.createStore({ layers, heads, size }));
  }

  get cacheBytes(): number {
    return this.#cached.bytes();
  }

  save(dir: string, options: { readonly maxShardBytes?: number } = {}): Promise<readonly string[]> {
    return saveModel(dir, [...this.#parameters.values()], this.#origin, options.maxShardBytes);
  }

  dispose(): void {
    this.#parameters.forEach((parameter: LlamaParameter) => parameter.dispose());
  }

  #embed(inputIds: Int32Array, pass: Pass): tf.Tensor2D {
    const weight = this.#parameters.get(EMBEDDING)!;
    const parts = pass.groups((stack) => weight.isThawedIn(stack)).map(({ stack, runs }) => ({ runs, rows: this.engine.ops.embedding(weight.matrix(stack), takeIntegers(inputIds, runs)) }));
    return joinRows(parts);
  }

  #pass(offsets: Int32Array, { stack, training }: ForwardOptions, positions: Int32Array, caches?: readonly LlamaCache[]): Pass {
    const stacks = this.#stacksOf(stack, offsets.length - 1);
    if (caches !== undefined && caches.length !== stacks.length) throw new GraftError('BATCH_SHAPE', `${caches.length} caches were given for ${stacks.length} segments.`);
    return new Pass({ offsets, stacks, training, positions, rotary: this.#rotary, caches });
  }

  #stacksOf(choice: StackChoice, segments: number): readonly StackName[] {
    const stacks = typeof choice === 'object' ? choice : new Array<StackName>(segments).fill(choice);
    if (stacks.length !== segments) throw new GraftError('BATCH_SHAPE', `${stacks.length} stacks were given for ${segments} segments.`);
    for (const stack of stacks) {
      if (stack !== undefined && !this.#stacks.has(stack)) throw new GraftError('STACK_UNKNOWN', `The model has no stack "${stack}".`, { hint: `It has ${[...this.#stacks].join(', ') || 'none'}.` });
    }
    return stacks;
  }
}

function asLlamaCache(cache: KVCache): LlamaCache {
  if (cache instanceof LlamaCache) return cache;
  throw new GraftError('CACHE_FOREIGN', 'A cache of another model was given; use createCache() of this one.');
}

function checkBatch({ inputIds, positions, offsets }: PackedBatch, vocabulary: number): void {
  const tokens = inputIds.length;
  if (offsets.length < 2 || offsets[0] !== 0 || offsets[offsets.length - 1] !== tokens || positions.length !== tokens) {
    throw new GraftError('BATCH_SHAPE', `A batch of ${tokens} tokens and ${positions.length} positions has offsets from ${offsets[0]} to ${offsets[offsets.length - 1]}; they must go from 0 to ${tokens}.`);
  }
  for (let i = 1; i < offsets.length; i++) {
    if (offsets[i]! <= offsets[i - 1]!) throw new GraftError('BATCH_SHAPE', `Segment ${i - 1} of a batch is empty: its offsets are ${offsets[i - 1]} and ${offsets[i]}.`);
  }
  const unknown = inputIds.findIndex((id) => id < 0 || id >= vocabulary);
  if (unknown !== -1) throw new GraftError('TOKEN_UNKNOWN', `Token ${inputIds[unknown]} at ${unknown} is outside the vocabulary of ${vocabulary}.`, { hint: 'The tokenizer is not the one that this model was trained with.' });
}

function checkTargets(targets: Int32Array, vocabulary: number): void {
  const unknown = targets.findIndex((id) => id !== IGNORED && (id < 0 || id >= vocabulary));
  if (unknown !== -1) throw new GraftError('TOKEN_UNKNOWN', `Label ${targets[unknown]} at ${unknown + 1} is outside the vocabulary of ${vocabulary}.`);
}

