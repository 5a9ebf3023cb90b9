import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { generate, type Disposer, type Graft, type GenerationRequest, type LoadedModel } from '../../core/index.ts';
import { Batcher, type BatchLimits } from '../../core/serving/batcher.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import { loadFolder } from '../support/model.ts';
import { inject, strategyHost } from '../support/strategies.ts';
import { writeTinyModel } from '../support/tiny-run.ts';

const STACKS = ['a', 'b', 'c', undefined] as const;
let host: OracleHost;
let base: LoadedModel;
const grafts: Graft[] = [];
const batchers: Batcher[] = [];

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'graft-batcher-'));
  writeTinyModel(dir);
  host = await strategyHost();
  base = await loadFolder(dir);
  for (const [i, stack] of (['a', 'b'] as const).entries()) grafts.push(await inject(host, base.model, stack, 'lora', { r: 4 + i, init_lora_weights: false, target_modules: ['q_proj', 'v_proj', 'down_proj'] }));
  grafts.push(await inject(host, base.model, 'c', 'adapter', { adapter_size: 8, init_weights: 'mam_adapter' }));
});
afterEach(async () => {
  for (const batcher of batchers.splice(0)) await batcher.dispose();
});
afterAll(() => {
  grafts.forEach((graft) => graft.remove());
  base.model.dispose();
});

function batch(limits: Partial<BatchLimits> = {}): Batcher {
  batchers.push(new Batcher(base.model, limits));
  return batchers.at(-1)!;
}

async function idsOf(tokens: AsyncIterable<{ readonly id: number }>): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of tokens) ids.push(id);
  return ids;
}

/** Texts of different lengths on all stacks, greedy and drawn. */
const REQUESTS = Array.from({ length: 12 }, (_, i) => {
  const inputIds = Int32Array.from({ length: 3 + 7 * (i % 5) }, (__, at) => 5 + ((i * 31 + at * 7) % 40));
  const request: GenerationRequest = { inputIds, maxTokens: 6 + i, seed: i, temperature: i % 3 === 0 ? 1 : 0 };
  return { stack: STACKS[i % STACKS.length], request };
});

const alone = ({ stack, request }: (typeof REQUESTS)[number]): Promise<number[]> => idsOf(generate(base.model, { ...request, stack }));

/** Bytes of the keys and values of so many tokens, as the engine keeps them. */
function bytesOf(tokens: number): number {
  const cache = base.model.createCache();
  const bytes = cache.bytesFor(tokens);
  cache.dispose();
  return bytes;
}

describe('a batch', () => {
  it('gives each text what it would be alone, whatever stacks are in it and however passes are cut', async () => {
    const expected = await Promise.all(REQUESTS.map(alone));
    for (const limits of [{}, { maxBatchTokens: 9 }, { maxSequences: 3 }, { kvBytes: bytesOf(64) }]) {
      const batcher = batch(limits);
      const made = await Promise.all(REQUESTS.map(({ stack, request }) => idsOf(batcher.generate(stack, request))));
      expect(made, JSON.stringify(limits)).toEqual(expected);
      const { running, waiting, preemptions } = batcher.state();
      expect({ running, waiting }).toEqual({ running: 0, waiting: 0 });
      if ('kvBytes' in limits) expect(preemptions).toBeGreaterThan(0);
    }
  });

  it('keeps to its budget of keys and values', async () => {
    const kvBytes = bytesOf(64);
    let most = 0;
    const batcher = new Batcher(base.model, { kvBytes }, { pass: () => (most = Math.max(most, base.model.cacheBytes)) });
    batchers.push(batcher);
    await Promise.all(REQUESTS.map(({ stack, request }) => idsOf(batcher.generate(stack, request))));
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(kvBytes);
    await expect(idsOf(batcher.generate(undefined, { inputIds: new Int32Array(60).fill(5), maxTokens: 11 }))).rejects.toMatchObject({ code: 'CONTEXT_LENGTH' });
  });

  it('computes a beginning once that several texts share, also of those that come together', async () => {
    const beginning = Array.from({ length: 60 }, (_, i) => 5 + ((i * 13) % 40));
    const texts = [7, 8, 9].map((last) => ({ inputIds: [...beginning, last], maxTokens: 5 }));
    const expected = await Promise.all(texts.map((request) => idsOf(generate(base.model, { ...request, stack: 'a' }))));
    let computed = 0;
    const batcher = new Batcher(base.model, {}, { pass: ({ tokens }) => (computed += tokens) });
    batchers.push(batcher);
    expect(await Promise.all(texts.map((request) => idsOf(batcher.generate('a', request))))).toEqual(expected);
    expect(batcher.state().reusedTokens).toBe(120);
    expect(computed).toBeLessThan(61 + 3 * 6);
    computed = 0;
    expect(await idsOf(batcher.generate('a', texts[1]!))).toEqual(expected[1]);
    expect(computed).toBeLessThan(7);
    // What another stack computed is of no use.
    computed = 0;
    await idsOf(batcher.generate('b', texts[1]!));
    expect(computed).toBeGreaterThan(60);
  });

  it('goes on without those whose strategy throws, and tells them why', async () => {
    const expected = await Promise.all(REQUESTS.slice(0, 4).map(alone));
    const target = base.model.target('broken');
    let calls = 0;
    const detach: Disposer = target.sites.get('model.layers.0.mlp')!.graft((x, next) => {
      if (++calls > 3) throw new Error('a strategy with a mistake');
      return next(x);
    });
    const batcher = batch();
    const broken = idsOf(batcher.generate('broken', { inputIds: [5, 6, 7], maxTokens: 20 }));
    const good = Promise.all(REQUESTS.slice(0, 4).map(({ stack, request }) => idsOf(batcher.generate(stack, request))));
    await expect(broken).rejects.toThrow('a strategy with a mistake');
    expect(await good).toEqual(expected);
    await detach();
  });

  it('goes on without those whose numbers are not finite', async () => {
    const detach = base.model.target('nan').sites.get('model.layers.0.mlp')!.graft((x, next) => tf.mul(next(x), Number.NaN));
    const batcher = batch();
    const [bad, good] = await Promise.allSettled([idsOf(batcher.generate('nan', { inputIds: [5, 6], maxTokens: 3 })), idsOf(batcher.generate(undefined, { inputIds: [5, 6], maxTokens: 3 }))]);
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'LOGITS_NOT_FINITE' } });
    expect(good.status).toBe('fulfilled');
    await detach();
  });

  it('lets a text go whose reader leaves or whose signal fires, wherever it stands', async () => {
    const batcher = batch({ maxSequences: 1 });
    const long: GenerationRequest = { inputIds: [5, 6], maxTokens: 40 };
    const reader = batcher.generate(undefined, long);
    expect((await reader.next()).done).toBe(false);
    const controller = new AbortController();
    const waiting = idsOf(batcher.generate(undefined, { ...long, signal: controller.signal }));
    controller.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    await reader.return();
    expect(batcher.state()).toMatchObject({ running: 0, waiting: 0 });
    expect(await idsOf(batcher.generate(undefined, { ...long, maxTokens: 2 }))).toHaveLength(2);
  });

  it('masks what a constraint forbids and tells it what was chosen', async () => {
    const allowed = [9, 11, 13];
    const accepted: number[] = [];
    const constraint = { mask: (logits: Float32Array) => logits.forEach((_, id) => void (allowed.includes(id) || (logits[id] = -Infinity))), accept: (id: number) => void accepted.push(id) };
    const ids = await idsOf(batch().generate('a', { inputIds: [5], maxTokens: 8, temperature: 1, constraint }));
    expect(ids.every((id) => allowed.includes(id))).toBe(true);
    expect(accepted).toEqual(ids);
  });

  it('tells the likeliest tokens and how likely they are', async () => {
    for await (const { id, logprob, top } of batch().generate(undefined, { inputIds: [5], maxTokens: 3, topLogprobs: 4 })) {
      expect(top).toHaveLength(4);
      expect(top![0]).toEqual({ id, logprob });
      expect(top!.map((each) => each.logprob)).toEqual(top!.map((each) => each.logprob).sort((a, b) => b - a));
    }
  });

  it('embeds texts as their last hidden states, each as alone', async () => {
    const texts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]];
    const together = await batch({ maxBatchTokens: 6 }).embed('b', texts);
    for (const [i, text] of texts.entries()) {
      const inputIds = Int32Array.from(text);
      const expected = tf.tidy(() => base.model.forward({ inputIds, labels: inputIds, offsets: Int32Array.of(0, text.length), positions: inputIds.map((_, at) => at) }, { stack: 'b' }).arraySync()).at(-1)!;
      together[i]!.forEach((value, at) => expect(Math.abs(value - expected[at]!)).toBeLessThan(1e-5));
    }
  });

  it('leaves no tensor behind', async () => {
    const tensors = tf.memory().numTensors;
    const batcher = new Batcher(base.model);
    await Promise.all(REQUESTS.map(({ stack, request }) => idsOf(batcher.generate(stack, request))));
    await batcher.dispose();
    expect(tf.memory().numTensors).toBe(tensors);
  });
});
