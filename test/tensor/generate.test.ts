import { describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import { generate, type CausalLM, type GenerateOptions, type SamplingOptions } from '../../core/index.ts';
import { sampler } from '../../core/tensor/sampling.ts';
import { checkpoint } from '../support/checkpoint.ts';
import { loadFolder } from '../support/model.ts';

const loadModel = async (name = 'peft', config = {}): Promise<CausalLM> => (await loadFolder(await checkpoint(name, config))).model;
const PROMPT = Int32Array.of(3, 9, 27, 41);

async function collect(model: CausalLM, options: Partial<GenerateOptions> = {}) {
  const made: { id: number; logprob: number }[] = [];
  for await (const token of generate(model, { inputIds: PROMPT, maxTokens: 12, ...options })) made.push(token);
  return made;
}

/** Every token by a pass over the whole sequence, without a cache. */
function withoutCache(model: CausalLM, prompt: Int32Array, count: number): { id: number; logprob: number }[] {
  const ids = [...prompt];
  return Array.from({ length: count }, () => {
    const inputIds = Int32Array.from(ids);
    const offsets = Int32Array.of(0, ids.length);
    const logprobs = tf.tidy(() => {
      const hidden = model.forward({ inputIds, labels: inputIds, offsets, positions: inputIds.map((_, i) => i) });
      return tf.logSoftmax(model.logits(hidden, { rows: Int32Array.of(ids.length - 1) })).dataSync();
    });
    const id = logprobs.indexOf(Math.max(...logprobs));
    ids.push(id);
    return { id, logprob: logprobs[id]! };
  });
}

describe('generating', () => {
  it.each(['peft', 'mistral_window'])('greedily gives what passes over the whole sequence give: %s', async (name) => {
    const model = await loadModel(name);
    const prompt = PROMPT.map((id) => id % 40);
    const expected = withoutCache(model, prompt, 12);
    const made = await collect(model, { inputIds: prompt });
    expect(made.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
    made.forEach(({ logprob }, i) => expect(Math.abs(logprob - expected[i]!.logprob)).toBeLessThan(1e-5));
    model.dispose();
  });

  it('takes a prompt that is computed in several parts', async () => {
    const model = await loadModel('peft', { max_position_embeddings: 2048 });
    const inputIds = Int32Array.from({ length: 1100 }, (_, i) => 3 + ((i * 13) % 60));
    const made = await collect(model, { inputIds, maxTokens: 2 });
    expect(made.map(({ id }) => id)).toEqual(withoutCache(model, inputIds, 2).map(({ id }) => id));
    model.dispose();
  });

  it('goes through the stack that it is given', async () => {
    const model = await loadModel();
    model.target('s').sites.get('lm_head')!.graft((x, next) => tf.add(next(x), tf.oneHot(tf.tensor1d([33], 'int32'), 64).mul(1e3)));
    expect((await collect(model, { stack: 's', maxTokens: 3 })).map(({ id }) => id)).toEqual([33, 33, 33]);
    expect((await collect(model, { maxTokens: 3 })).map(({ id }) => id)).toEqual(withoutCache(model, PROMPT, 3).map(({ id }) => id));
    model.dispose();
  });

  it('ends with the first stop token, which it yields', async () => {
    const model = await loadModel();
    const all = await collect(model);
    const stop = all[4]!.id;
    const made = await collect(model, { stopTokenIds: [stop] });
    expect(made).toEqual(all.slice(0, all.findIndex(({ id }) => id === stop) + 1));
    expect(await collect(model, { maxTokens: 0 })).toEqual([]);
    model.dispose();
  });

  it('samples the same tokens for the same seed, and others for another', async () => {
    const model = await loadModel();
    const ids = async (seed: number) => (await collect(model, { temperature: 1.5, seed })).map(({ id }) => id).join();
    expect(await ids(1)).toBe(await ids(1));
    expect(await ids(1)).not.toBe(await ids(2));
    model.dispose();
  });

  it('frees every tensor, also when its consumer stops early or it is cancelled', async () => {
    const model = await loadModel();
    await collect(model);
    const before = tf.memory().numTensors;
    await collect(model);
    expect(tf.memory().numTensors).toBe(before);
    for await (const token of generate(model, { inputIds: PROMPT, maxTokens: 12 })) if (token.id >= 0) break;
    expect(tf.memory().numTensors).toBe(before);
    const controller = new AbortController();
    const made: number[] = [];
    const cancelled = async () => {
      for await (const { id } of generate(model, { inputIds: PROMPT, maxTokens: 12, signal: controller.signal })) {
        if (made.push(id) === 3) controller.abort(new Error('the client left'));
      }
    };
    await expect(cancelled()).rejects.toThrow('the client left');
    expect(made.length).toBe(3);
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  it('lets others have their turn between tokens', async () => {
    const model = await loadModel();
    let turns = 0;
    let running = true;
    const turn = () => {
      turns++;
      if (running) setImmediate(turn);
    };
    setImmediate(turn);
    const seen: number[] = [];
    for await (const token of generate(model, { inputIds: PROMPT, maxTokens: 5 })) if (token.id >= 0) seen.push(turns);
    running = false;
    expect(seen.every((count, i) => i === 0 || count > seen[i - 1]!)).toBe(true);
    expect(seen.length).toBe(5);
    model.dispose();
  });

  it('refuses what does not fit: an empty prompt, and more tokens than the model has positions', async () => {
    const model = await loadModel();
    await expect(collect(model, { inputIds: [] })).rejects.toThrow('The prompt has no tokens.');
    await expect(collect(model, { maxTokens: 125 })).rejects.toThrow('The model takes at most 128 tokens; the prompt has 4 and max_tokens asks for 125 more.');
    await expect(collect(model, { maxTokens: -1 })).rejects.toThrow('max_tokens is -1; it must be a whole number, at least 0.');
    await expect(collect(model, { inputIds: [64] })).rejects.toThrow('Token 64 at 0 is outside the vocabulary of 64.');
    model.dispose();
  });
});

describe('sampling', () => {
  const logits = Float32Array.of(2, 1, 0, -1, -Infinity);
  const probabilities = (temperature: number) => {
    const weights = [...logits].map((logit) => Math.exp(logit / temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  };
  const frequencies = (options: SamplingOptions, draws = 20_000) => {
    const choose = sampler(options);
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < draws; i++) counts[choose(logits).id]!++;
    return counts.map((count) => count / draws);
  };
  const expectClose = (got: readonly number[], expected: readonly number[]) => got.forEach((frequency, i) => expect(Math.abs(frequency - expected[i]!), `token ${i}`).toBeLessThan(0.015));

  it.each([0.5, 1, 2])('follows the probabilities at temperature %f', (temperature) => expectClose(frequencies({ temperature, seed: 4 }), probabilities(temperature)));

  it('at temperature 0 takes the first of the likeliest', () => {
    expect(sampler({})(Float32Array.of(1, 3, 3, 0)).id).toBe(1);
  });

  it('tells the probability under the model, whatever the temperature', () => {
    const expected = probabilities(1);
    for (const temperature of [0, 0.7, 3]) {
      const { id, logprob } = sampler({ temperature, seed: 8 })(logits);
      expect(logprob).toBeCloseTo(Math.log(expected[id]!), 6);
    }
  });

  it('top_p keeps the fewest likeliest that reach it', () => {
    const [first, second] = probabilities(1) as [number, number];
    expectClose(frequencies({ temperature: 1, topP: first - 0.01, seed: 1 }), [1, 0, 0, 0, 0]);
    expectClose(frequencies({ temperature: 1, topP: first + 0.01, seed: 1 }), [first / (first + second), second / (first + second), 0, 0, 0]);
  });

  it('top_k keeps that many, and top_p then counts among them', () => {
    const [first, second, third] = probabilities(1) as [number, number, number];
    expectClose(frequencies({ temperature: 1, topK: 2, seed: 1 }), [first / (first + second), second / (first + second), 0, 0, 0]);
    const share = first / (first + second + third);
    expectClose(frequencies({ temperature: 1, topK: 3, topP: share - 0.01, seed: 1 }), [1, 0, 0, 0, 0]);
  });

  it('keeps top_p exact in a large vocabulary of nearly equal tokens', () => {
    const flat = Float32Array.from({ length: 5000 }, (_, i) => -i * 1e-6);
    const choose = sampler({ temperature: 1, topP: 0.5, seed: 3 });
    const ids = Array.from({ length: 2000 }, () => choose(flat).id);
    expect(Math.max(...ids)).toBeLessThan(2510);
    expect(Math.max(...ids)).toBeGreaterThan(2400);
  });

  it('never takes an impossible token', () => {
    expect(frequencies({ temperature: 50, seed: 2 }, 5000)[4]).toBe(0);
  });

  it.each([
    [{ temperature: -1 }, 'temperature is -1; it must be at least 0.'],
    [{ topP: 0 }, 'top_p is 0; it must be above 0 and at most 1.'],
    [{ topK: 0 }, 'top_k is 0; it must be a whole number above 0.'],
  ])('refuses %o', (options, message) => expect(() => sampler(options)).toThrow(message));

  it.each([[NaN], [Infinity]])('stops where a logit is %f', (bad) => {
    expect(() => sampler({})(Float32Array.of(0, bad, 1))).toThrow(`The model's logit of token 1 is ${bad}.`);
    expect(() => sampler({ temperature: 1 })(Float32Array.of(bad, 0, 1))).toThrow(`The model's logit of token 0 is ${bad}.`);
  });
});
