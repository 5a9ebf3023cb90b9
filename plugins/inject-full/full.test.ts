import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { readTensors, type CausalLM, type Graft } from '../../core/index.ts';
import type { OracleBase } from '../../core/run/oracles/base.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import { logitsOf } from '../../core/run/oracles/rows.ts';
import { METHOD_OPTIMIZER, trainSteps } from '../../core/run/oracles/train.ts';
import { recognizeFolder } from '../../core/run/recognize.ts';
import { expectFiniteDifferences } from '../../test/support/gradients.ts';
import { aroundOracleModel, inject } from '../../test/support/strategies.ts';
import { namePattern } from './name-pattern.ts';

let host: OracleHost;
let base: OracleBase;
let model: CausalLM;
const grafts = aroundOracleModel((given) => ({ host, base, model } = given));

async function full(options: Readonly<Record<string, unknown>> = {}, stack = 'full'): Promise<Graft> {
  const graft = await inject(host, model, stack, 'full', options);
  grafts.push(graft);
  return graft;
}

const names = (graft: Graft): readonly string[] => graft.trainables.map(({ name }) => name);

describe('full fine-tuning', () => {
  it('trains every weight of the base by its own name, and leaves other stacks the base', async () => {
    const before = logitsOf(model, base.batch, {});
    const graft = await full();
    expect(names(graft)).toEqual([...model.parameters.keys()]);
    expect(logitsOf(model, base.batch, { stack: 'full' })).toEqual(before);
    const { losses } = trainSteps(model, 'full', graft.trainables, Array.from({ length: 4 }, () => base.batch), { ...METHOD_OPTIMIZER, learningRate: 1e-3 });
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    expect(logitsOf(model, base.batch, { stack: 'full' })).not.toEqual(before);
    expect(logitsOf(model, base.batch, {})).toEqual(before);
  });

  it('is exact in its gradients, those of norms and the embedding too', async () => {
    const graft = await full({ parameters: ['model.layers.0.input_layernorm.weight', 'model.norm', 'embed_tokens', 'lm_head', 'k_proj'] });
    expectFiniteDifferences(() => model.loss(base.batch, { stack: 'full' }), graft.trainables.map(({ variable }) => variable), { samples: 4 });
  });

  it('gives the base back bit for bit when it is removed, and leaves no tensor', async () => {
    const before = logitsOf(model, base.batch, {});
    const tensors = tf.memory().numTensors;
    const graft = await full();
    trainSteps(model, 'full', graft.trainables, [base.batch], METHOD_OPTIMIZER);
    graft.remove();
    expect(logitsOf(model, base.batch, { stack: 'full' })).toEqual(before);
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it('merges by giving the base its values', async () => {
    const own = await base.load();
    const graft = await inject(host, own, 'full', 'full', { parameters: ['mlp', 'norm'] });
    trainSteps(own, 'full', graft.trainables, [base.batch], METHOD_OPTIMIZER);
    const before = logitsOf(own, base.batch, { stack: 'full' });
    await graft.merge?.();
    graft.remove();
    expect(logitsOf(own, base.batch, {})).toEqual(before);
    own.dispose();
  });

  it('is saved by the names of the checkpoint, and comes back', async () => {
    const graft = await full({ parameters: ['model.layers.1'], exclude: ['*layernorm'] });
    trainSteps(model, 'full', graft.trainables, [base.batch], METHOD_OPTIMIZER);
    const dir = await mkdtemp(join(tmpdir(), 'graft-full-'));
    expect(await graft.save(dir)).toEqual(['trained_weights.json', 'model.safetensors']);
    expect([...(await readTensors(join(dir, 'model.safetensors'))).keys()].sort()).toEqual([...names(graft)].sort());
    const { plugin, options } = await recognizeFolder(dir, host.injectPlugins);
    expect(plugin.name).toBe('full');
    await (await full(options, 'again')).load(dir);
    expect(logitsOf(model, base.batch, { stack: 'again' })).toEqual(logitsOf(model, base.batch, { stack: 'full' }));
  });
});

describe('its options', () => {
  it.each([
    ['norm', ['model.norm.weight']],
    ['self_attn.q_proj.weight', ['model.layers.0.self_attn.q_proj.weight', 'model.layers.1.self_attn.q_proj.weight']],
    ['model.layers.*.mlp.up_proj', ['model.layers.0.mlp.up_proj.weight', 'model.layers.1.mlp.up_proj.weight']],
    ['model.layers.0.**norm', ['model.layers.0.input_layernorm.weight', 'model.layers.0.post_attention_layernorm.weight']],
    ['/0\\.mlp\\.(up|down)/', ['model.layers.0.mlp.up_proj.weight', 'model.layers.0.mlp.down_proj.weight']],
  ])('name parameters in several ways: %s', async (pattern, expected) => {
    expect([...names(await full({ parameters: [pattern] }))].sort()).toEqual([...expected].sort());
  });

  it('tell layer 1 from layer 11', () => {
    const test = namePattern('model.layers.1', []);
    expect(test('model.layers.1.mlp.up_proj.weight')).toBe(true);
    expect(test('model.layers.11.mlp.up_proj.weight')).toBe(false);
  });

  it.each([
    [{ parameters: ['nrom'] }, 'PARAMETERS_NO_MATCH', ['parameters', 0], 'parameters: "nrom" matches no parameter of this model.'],
    [{ exclude: ['visual'] }, 'PARAMETERS_NO_MATCH', ['exclude', 0], 'exclude: "visual" matches no parameter of this model.'],
    [{ parameters: ['norm'], exclude: ['norm'] }, 'PARAMETERS_NO_MATCH', ['exclude'], 'exclude leaves no parameter to train.'],
  ])('are refused where they name nothing: %j', async (options, code, option, message) => {
    await expect(full(options)).rejects.toMatchObject({ code, option, message });
  });

  it('are refused where a regular expression is none', async () => {
    await expect(full({ parameters: ['/(/'] })).rejects.toMatchObject({ code: 'PARAMETER_PATTERN', option: ['parameters', 0], message: expect.stringMatching(/^\/\(\/ is not a regular expression: .+\.$/) });
  });
});
