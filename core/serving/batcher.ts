/**
 * Continuous batching (Yu et al. 2022, Orca): every pass of the model takes one token of each text that is being generated
 * and as much of new prompts as fits, whatever stacks they run on; texts join and leave between passes.
 */
import { setMaxListeners } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import type { CausalLM, GenerationRequest, SampledToken } from '../contracts/index.ts';
import { checkLength } from '../tensor/generate.ts';
import { commonLength, Prefixes } from './prefixes.ts';
import { Sequence } from './sequence.ts';

export interface BatchLimits {
  /** Texts generated at once; more wait in line. */
  readonly maxSequences: number;
  /** Tokens of one pass: a long prompt is cut, so that the others go on meanwhile. */
  readonly maxBatchTokens: number;
  /** Bytes of keys and values. */
  readonly kvBytes: number;
}

export const DEFAULT_LIMITS: BatchLimits = { maxSequences: 64, maxBatchTokens: 512, kvBytes: 2 ** 30 };

/** What the batcher tells of itself, for metrics; seconds. */
export interface BatchObserver {
  pass?(pass: { readonly sequences: number; readonly tokens: number; readonly seconds: number }): void;
  firstToken?(seconds: number): void;
  nextToken?(seconds: number): void;
}

/** What it is doing now. */
export interface BatchState {
  readonly running: number;
  readonly waiting: number;
  readonly kvBytes: number;
  readonly kvLimitBytes: number;
  /** Since it began: tokens found in kept keys and values, and texts whose keys and values were given up for others'. */
  readonly reusedTokens: number;
  readonly preemptions: number;
}

/** Tokens of one text in a pass. */
interface Row {
  readonly sequence: Sequence;
  readonly count: number;
}

/** A prompt whose beginning another is about to compute waits for it, where so many tokens are saved. */
const WORTH_WAITING = 32;

export class Batcher {
  readonly contextLength: number;
  readonly #model: CausalLM;
  readonly #limits: BatchLimits;
  readonly #observer: BatchObserver;
  readonly #waiting: Sequence[] = [];
  readonly #running = new Set<Sequence>();
  readonly #prefixes = new Prefixes();
  #preemptions = 0;
  #loop: Promise<void> | undefined;
  #disposed = false;

  constructor(model: CausalLM, limits: Partial<BatchLimits> = {}, observer: BatchObserver = {}) {
    this.#model = model;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#observer = observer;
    this.contextLength = longestWithin(model, this.#limits.kvBytes);
  }

  state(): BatchState {
    return { running: this.#running.size, waiting: this.#waiting.length, kvBytes: this.#model.cacheBytes, kvLimitBytes: this.#limits.kvBytes, reusedTokens: this.#prefixes.reusedTokens, preemptions: this.#preemptions };
  }

  /**
   * Goes on with a text; see `ServedModel.generate`.
   * @param stack undefined: the base model. It must stay on the model until the iteration has ended
   */
  async *generate(stack: string | undefined, request: GenerationRequest): AsyncGenerator<SampledToken, void, undefined> {
    checkLength(this.contextLength, request.inputIds.length, request.maxTokens);
    request.signal?.throwIfAborted();
    if (this.#disposed) throw new Error('The model is not served any more.');
    const sequence = new Sequence(stack, request);
    const aborted = (): void => sequence.fail(request.signal!.reason);
    // Many texts may be of one request.
    if (request.signal !== undefined) setMaxListeners(0, request.signal);
    request.signal?.addEventListener('abort', aborted, { once: true });
    this.#waiting.push(sequence);
    this.#start();
    try {
      yield* sequence.stream();
    } finally {
      request.signal?.removeEventListener('abort', aborted);
      sequence.fail(new Error('Nobody reads it any more.'));
      await sequence.left;
    }
  }

  /** The last hidden state of each text's last token, `[d]` each. */
  async embed(stack: string | undefined, inputs: readonly ArrayLike<number>[], signal?: AbortSignal): Promise<readonly Float32Array[]> {
    for (const { length } of inputs) checkLength(this.#model.config.max_position_embeddings, length, 0);
    const made: Float32Array[] = [];
    for (let next = 0; next < inputs.length; ) {
      await nextTurn();
      signal?.throwIfAborted();
      const texts = [inputs[next++]!];
      const total = (): number => texts.reduce((sum, { length }) => sum + length, 0);
      while (next < inputs.length && total() + inputs[next]!.length <= this.#limits.maxBatchTokens) texts.push(inputs[next++]!);
      const offsets = offsetsOf(texts.map(({ length }) => length));
      const inputIds = Int32Array.from(texts.flatMap((text) => Array.from(text)));
      const positions = Int32Array.from(texts.flatMap(({ length }) => Array.from({ length }, (_, i) => i)));
      const last = tf.tidy(() => tf.gather(this.#model.forward({ inputIds, labels: inputIds, offsets, positions }, { stack }), tf.tensor1d([...offsets.subarray(1)].map((end) => end - 1), 'int32')));
      try {
        const values = (await last.data()) as Float32Array;
        const width = values.length / texts.length;
        texts.forEach((_, i) => made.push(values.slice(i * width, (i + 1) * width)));
      } finally {
        last.dispose();
      }
    }
    return made;
  }

  /** Forgets what a stack computed; to be called when it leaves the model. */
  forget(stack: string): void {
    this.#prefixes.forget(stack);
  }

  /** Drops the keys and values that are kept for texts that begin alike. */
  forgetAll(): void {
    this.#prefixes.dispose();
  }

  /** Fails what is still generated. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    for (const sequence of [...this.#running, ...this.#waiting]) sequence.fail(new Error('The model is not served any more.'));
    await this.#loop;
    this.#prefixes.dispose();
  }

  #start(): void {
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined;
      if (this.#waiting.length > 0) this.#start();
    });
  }

  async #run(): Promise<void> {
    for (;;) {
      await nextTurn();
      this.#leave();
      this.#join();
      if (this.#running.size === 0) return;
      const pass = this.#plan();
      await this.#compute(pass);
    }
  }

  /** Ends those that are complete, failed or left by their client. */
  #leave(): void {
    for (const sequence of this.#running) {
      if (!sequence.ended) continue;
      this.#running.delete(sequence);
      const { cache } = sequence;
      sequence.cache = undefined;
      if (sequence.whole && cache !== undefined) this.#prefixes.keep(sequence.stack, sequence.tokens, cache);
      else cache?.dispose();
      sequence.leave();
    }
    for (const sequence of this.#waiting.filter(({ ended }) => ended)) {
      this.#waiting.splice(this.#waiting.indexOf(sequence), 1);
      sequence.leave();
    }
  }

  #join(): void {
    const held: Sequence[] = [];
    while (this.#waiting.length > 0 && this.#running.size < this.#limits.maxSequences) {
      const sequence = this.#waiting.shift()!;
      if (this.#isBegunByAnother(sequence)) {
        held.push(sequence);
        continue;
      }
      sequence.cache = this.#prefixes.find(sequence.stack, sequence.tokens, this.#running) ?? this.#model.createCache();
      sequence.shared ??= sequence.cached;
      this.#running.add(sequence);
    }
    this.#waiting.unshift(...held);
  }

  /** Whether much of it is being computed for another right now, and can be shared when that is done. */
  #isBegunByAnother({ stack, tokens }: Sequence): boolean {
    for (const other of this.#running) {
      if (other.stack !== stack || other.pending <= 1) continue;
      if (Math.min(commonLength(other.tokens, tokens), tokens.length - 1) - other.cached >= WORTH_WAITING) return true;
    }
    return false;
  }

  /** The rows of the next pass: a token of each that goes on, then prompts, the longest waiting first. Makes room for their keys and values. */
  #plan(): readonly Row[] {
    const { maxBatchTokens, kvBytes } = this.#limits;
    for (;;) {
      let left = maxBatchTokens;
      const rows: Row[] = [];
      const ofGoingOn = [...this.#running].filter(({ pending }) => pending === 1);
      const ofPrompts = [...this.#running].filter(({ pending }) => pending > 1);
      for (const sequence of [...ofGoingOn, ...ofPrompts]) {
        const count = Math.min(sequence.pending, left);
        if (count === 0) break;
        rows.push({ sequence, count });
        left -= count;
      }
      const needed = rows.reduce((sum, { sequence, count }) => sum + sequence.cache!.bytesFor(count), 0);
      while (this.#model.cacheBytes + needed > kvBytes && this.#prefixes.dropOldest());
      if (this.#model.cacheBytes + needed <= kvBytes || this.#running.size === 1) return rows;
      this.#preempt();
    }
  }

  /** Gives up the keys and values of whoever came last; they are computed again when there is room. */
  #preempt(): void {
    const last = [...this.#running].reduce((a, b) => (b.submittedAt >= a.submittedAt ? b : a));
    this.#running.delete(last);
    last.releaseCache();
    this.#waiting.unshift(last);
    this.#preemptions++;
  }

  async #compute(rows: readonly Row[]): Promise<void> {
    const began = performance.now();
    const before = rows.map(({ sequence }) => sequence.cached);
    try {
      await this.#pass(rows);
    } catch (error) {
      const stacks = new Set(rows.map(({ sequence }) => sequence.stack));
      const untouched = rows.every(({ sequence }, i) => sequence.cached === before[i]);
      if (stacks.size === 1 || !untouched) return rows.forEach(({ sequence }) => sequence.fail(error));
      // One of the stacks is at fault; the others are not to know.
      for (const stack of stacks) {
        const own = rows.filter(({ sequence }) => sequence.stack === stack && !sequence.ended);
        if (own.length > 0) await this.#pass(own).catch((reason: unknown) => own.forEach(({ sequence }) => sequence.fail(reason)));
      }
    }
    this.#observer.pass?.({ sequences: rows.length, tokens: rows.reduce((sum, { count }) => sum + count, 0), seconds: (performance.now() - began) / 1000 });
  }

  async #pass(rows: readonly Row[]): Promise<void> {
    const offsets = offsetsOf(rows.map(({ count }) => count));
    const inputIds = new Int32Array(offsets[rows.length]!);
    const positions = new Int32Array(inputIds.length);
    rows.forEach(({ sequence: { tokens, cached }, count }, segment) => {
      for (let i = 0; i < count; i++) {
        inputIds[offsets[segment]! + i] = tokens[cached + i]!;
        positions[offsets[segment]! + i] = cached + i;
      }
    });
    const stack = rows.map(({ sequence }) => sequence.stack);
    const caches = rows.map(({ sequence }) => sequence.cache!);
    const choosing = rows.flatMap(({ sequence, count }, segment) => (count === sequence.pending ? [segment] : []));
    const logits = tf.tidy(() => {
      const hidden = this.#model.forward({ inputIds, labels: inputIds, offsets, positions }, { stack, caches });
      return choosing.length === 0 ? undefined : this.#model.logits(hidden, { stack, offsets, rows: Int32Array.from(choosing, (segment) => offsets[segment + 1]! - 1) });
    });
    if (logits === undefined) return;
    try {
      const values = (await logits.data()) as Float32Array;
      const width = logits.shape[1];
      choosing.forEach((segment, i) => this.#advance(rows[segment]!.sequence, values.subarray(i * width, (i + 1) * width)));
    } finally {
      logits.dispose();
    }
  }

  #advance(sequence: Sequence, logits: Float32Array): void {
    if (sequence.ended) return;
    try {
      sequence.advance(logits);
    } catch (error) {
      return sequence.fail(error);
    }
    const now = performance.now();
    if (sequence.made === 1) this.#observer.firstToken?.((now - sequence.submittedAt) / 1000);
    else this.#observer.nextToken?.((now - sequence.lastTokenAt) / 1000);
    sequence.lastTokenAt = now;
  }
}

/** The most tokens of one text that the model takes and whose keys and values fit. */
function longestWithin(model: CausalLM, kvBytes: number): number {
  const cache = model.createCache();
  let [fits, most] = [0, model.config.max_position_embeddings];
  while (fits < most) {
    const middle = Math.ceil((fits + most) / 2);
    if (cache.bytesFor(middle) <= kvBytes) fits = middle;
    else most = middle - 1;
  }
  cache.dispose();
  return fits;
}

/** Lengths of N segments -> `[N+1]`. */
function offsetsOf(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => (offsets[i + 1] = offsets[i]! + length));
  return offsets;
}
