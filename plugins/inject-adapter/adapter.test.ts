import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { readTensors, type CausalLM, type Graft } from '../../core/index.ts';
import type { OracleBase } from '../../core/run/oracles/base.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import { logitsOf, meanLossValue } from '../../core/run/oracles/rows.ts';
import { METHOD_OPTIMIZER, trainSteps } from '../../core/run/oracles/train.ts';
import { expectFiniteDifferences } from '../../test/support/gradients.ts';
import { aroundOracleModel, inject, ORACLES } from '../../test/support/strategies.ts';
import { recognizeAdapter } from './adapterhub.ts';
import { bottleneckSize, designOf } from './design.ts';
import type { AdapterOptions } from './options.ts';

let host: OracleHost;
let base: OracleBase;
let model: CausalLM;
const grafts = aroundOracleModel((given) => ({ host, base, model } = given));

async function adapter(options: Readonly<Record<string, unknown>> = {}, stack = 'adapter'): Promise<Graft> {
  const graft = await inject(host, model, stack, 'adapter', options);
  grafts.push(graft);
  return graft;
}

const temporary = (): Promise<string> => mkdtemp(join(tmpdir(), 'graft-adapter-'));
const names = (graft: Graft): readonly string[] => graft.trainables.map(({ name }) => name);
const design = (options: Partial<AdapterOptions>, hiddenSize = 64): ReturnType<typeof designOf> => designOf({ name: 'graft', ...options }, hiddenSize);

/** Gives every tensor values, so that nothing is hidden by zeros. */
function stir(graft: Graft): void {
  graft.trainables.forEach(({ variable }, index) => tf.tidy(() => variable.assign(tf.add(variable, tf.randomNormal(variable.shape, 0, 0.1, 'float32', index + 1)))));
}

describe('its options', () => {
  it('put a bottleneck of 64 with ReLU after the attention, as the reference design does', async () => {
    const graft = await adapter();
    expect(names(graft).map((name) => name.replace(/^model\.layers\.\d\./, ''))).toEqual([...PLAIN, ...PLAIN]);
    expect(graft.trainables.map(({ variable }) => variable.shape).slice(0, 4)).toEqual([[64], [64, 32], [32], [32, 64]]);
    expect(design({})).toMatchObject({ mh_adapter: true, output_adapter: false, non_linearity: 'relu', is_parallel: false, scaling: 1, reduction_factor: 1 });
  });

  const PLAIN = ['adapter_down.0.bias', 'adapter_down.0.weight', 'adapter_up.bias', 'adapter_up.weight'].map((name) => `attention_adapters.adapters.graft.${name}`);

  it('name published designs, of which each option can be changed', () => {
    expect(design({ preset: 'houlsby' })).toEqual(design({ preset: 'double_seq_bn' }));
    expect(design({ preset: 'houlsby' })).toMatchObject({ mh_adapter: true, output_adapter: true, non_linearity: 'swish', reduction_factor: 16, original_ln_before: false });
    expect(design({ preset: 'pfeiffer' })).toEqual(design({ preset: 'seq_bn' }));
    expect(design({ preset: 'seq_bn', non_linearity: 'gelu', adapter_size: 8 })).toMatchObject({ mh_adapter: false, original_ln_before: true, non_linearity: 'gelu', reduction_factor: 8 });
    expect(design({ preset: 'parallel' })).toMatchObject({ is_parallel: true, scaling: 4, init_weights: 'mam_adapter', reduction_factor: 2 });
    expect(design({ preset: 'scaled_par_bn' })).toMatchObject({ is_parallel: true, scaling: 'learned' });
    expect(design({ placement: 'both' })).toMatchObject({ mh_adapter: true, output_adapter: true, is_parallel: false });
    expect(design({ placement: 'parallel' })).toMatchObject({ output_adapter: true, is_parallel: true, reduction_factor: 1 });
  });

  it.each([
    [64, 48],
    [4096, 4000],
    [768, 10],
    [2048, 3],
    [30, 29],
  ])('write a size for hidden %i and width %i that AdapterHub reads as the same width', (hidden, width) => {
    expect(bottleneckSize(hidden, design({ adapter_size: width }, hidden), 0)).toBe(width);
  });

  it('take a reduction factor per layer', async () => {
    const graft = await adapter({ reduction_factor: { '0': 8, default: 4 } });
    expect(graft.trainables.map(({ variable }) => variable.shape).filter((shape) => shape.length === 2)).toEqual([[4, 32], [32, 4], [8, 32], [32, 8]]);
    expect(names(await adapter({ leave_out: [0] }, 'left out')).every((name) => name.startsWith('model.layers.1.'))).toBe(true);
  });

  it.each([
    [{ adapter_size: 8, reduction_factor: 4 }, ['adapter_size'], 'adapter_size and reduction_factor both say how wide the bottleneck is.'],
    [{ placement: 'mlp', mh_adapter: true }, ['mh_adapter'], 'placement and mh_adapter both say where the adapters stand.'],
    [{ mh_adapter: false }, ['output_adapter'], 'mh_adapter and output_adapter are both false, so no adapter would be added.'],
    [{ placement: 'parallel', original_ln_before: true }, ['original_ln_before'], 'original_ln_before has no effect beside a block: a parallel adapter reads the residual stream itself.'],
    [{ placement: 'parallel', residual_before_ln: false }, ['residual_before_ln'], 'residual_before_ln has no effect beside a block: a parallel adapter reads the residual stream itself.'],
    [{ reduction_factor: { '0': 4, '2': 8, default: 16 } }, ['reduction_factor', '2'], 'reduction_factor: the model has no layer "2"; its 2 layers are counted from 0.'],
    [{ reduction_factor: { '0': 4 } }, ['reduction_factor'], 'reduction_factor says nothing of layer 1 and has no "default".'],
    [{ leave_out: [0, 2] }, ['leave_out', 1], 'leave_out: the model has no layer 2; its 2 layers are counted from 0.'],
    [{ leave_out: [0, 1] }, ['leave_out'], 'leave_out leaves no layer for an adapter.'],
  ])('are refused where they contradict each other or name nothing, and leave no tensor: %j', async (options, option, message) => {
    const tensors = tf.memory().numTensors;
    await expect(adapter(options)).rejects.toMatchObject({ code: 'ADAPTER_OPTIONS', option, message });
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it('are refused where the schema does not know them', async () => {
    await expect(adapter({ non_linearity: 'swiss' })).rejects.toMatchObject({ option: ['non_linearity'] });
    await expect(adapter({ phm_layer: true })).rejects.toMatchObject({ option: ['phm_layer'] });
  });
});

describe('an Adapter', () => {
  it.each([
    ['sequential', { placement: 'both' }],
    ['with the residual stream', { preset: 'seq_bn', residual_before_ln: false }],
    ['without the residual stream', { placement: 'mlp', original_ln_after: false, original_ln_before: true }],
    ['parallel, learned scale', { preset: 'scaled_par_bn' }],
    ['normalised and gated', { placement: 'both', ln_before: true, ln_after: true, use_gating: true, scaling: 'channel' }],
    ['normalised after the skip', { placement: 'mlp', ln_after: true, adapter_residual_before_ln: true, non_linearity: 'gelu' }],
  ])('is exact in its gradients: %s', async (_, options) => {
    const graft = await adapter({ adapter_size: 4, non_linearity: 'swish', ...options });
    stir(graft);
    expectFiniteDifferences(() => model.loss(base.batch, { stack: 'adapter' }), graft.trainables.map(({ variable }) => variable), { samples: 4 });
  });

  it.each(['relu', 'gelu', 'gelu_new', 'quick_gelu', 'swish', 'mish', 'leakyrelu', 'relu2', 'sigmoid', 'tanh', 'linear'])('trains with %s', async (activation) => {
    const graft = await adapter({ adapter_size: 4, non_linearity: activation });
    const { losses } = trainSteps(model, 'adapter', graft.trainables, Array.from({ length: 5 }, () => base.batch), METHOD_OPTIMIZER);
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
  });

  it('gives the base back bit for bit when it is removed, and leaves no tensor', async () => {
    const before = logitsOf(model, base.batch, {});
    const tensors = tf.memory().numTensors;
    const graft = await adapter({ placement: 'both', use_gating: true, ln_before: true });
    trainSteps(model, 'adapter', graft.trainables, [base.batch, base.batch], METHOD_OPTIMIZER);
    expect(logitsOf(model, base.batch, { stack: 'adapter' })).not.toEqual(before);
    expect(logitsOf(model, base.batch, {})).toEqual(before);
    graft.remove();
    expect(logitsOf(model, base.batch, { stack: 'adapter' })).toEqual(before);
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it('drops its output only while training', async () => {
    stir(await adapter({ dropout: 0.5, adapter_size: 4 }));
    const loss = (step?: number): number => meanLossValue(model, base.batch, { stack: 'adapter', training: step === undefined ? undefined : { seed: 1, step } });
    expect(loss(3)).toBe(loss(3));
    expect(loss(3)).not.toBe(loss(4));
    expect(loss(3)).not.toBe(loss());
  });

  it('nests in the order listed: the one listed last sees what the first made', async () => {
    const order = async (first: Record<string, unknown>, second: Record<string, unknown>, stack: string): Promise<Float32Array> => {
      for (const options of [first, second]) stir(await adapter({ adapter_size: 4, ...options }, stack));
      return logitsOf(model, base.batch, { stack });
    };
    const relu = { non_linearity: 'relu', scaling: 3 };
    const tanh = { non_linearity: 'tanh' };
    expect(await order(relu, tanh, 'relu first')).not.toEqual(await order(tanh, relu, 'tanh first'));
  });

  it('can not be merged: it is not linear', async () => {
    expect((await adapter()).merge).toBeUndefined();
  });
});

describe('its files', () => {
  it.each(['seq_bn', 'double_seq_bn', 'par_bn', 'scaled_par_bn'])("are AdapterHub's, to the byte of the config and the names and shapes of tensors: %s", async (method) => {
    const theirs = join(ORACLES, 'adapterhub', method, 'init');
    const graft = await adapter({ ...(await recognizeAdapter(theirs)) });
    await graft.load(theirs);
    const dir = await temporary();
    expect(await graft.save(dir)).toEqual(['adapter_config.json', 'adapter.safetensors']);
    const config = (from: string): Promise<string> => readFile(join(from, 'adapter_config.json'), 'utf8');
    expect(await config(dir)).toBe(await config(theirs));
    expect(await readTensors(join(dir, 'adapter.safetensors'))).toEqual(await readTensors(join(theirs, 'adapter.safetensors')));
  });

  it('are read whatever the adapter was called', async () => {
    const graft = await adapter({ preset: 'seq_bn', reduction_factor: 4, name: 'mine' });
    await graft.load(join(ORACLES, 'adapterhub/seq_bn/init'));
    expect(names(graft)[0]).toBe('model.layers.0.output_adapters.adapters.mine.adapter_down.0.bias');
    const theirs = await adapter({ preset: 'seq_bn', reduction_factor: 4, name: 'ad' }, 'theirs');
    await theirs.load(join(ORACLES, 'adapterhub/seq_bn/init'));
    expect(logitsOf(model, base.batch, { stack: 'adapter' })).toEqual(logitsOf(model, base.batch, { stack: 'theirs' }));
  });

  it.each([
    ['phm_layer', true],
    ['inv_adapter', 'nice'],
    ['cross_adapter', true],
    ['stochastic_depth', 0.1],
    ['residual_before_ln', 'post_add'],
    ['non_linearity', 'prelu'],
    ['something_newer', 1],
  ])("are refused where AdapterHub's %s asks for what this does not compute", async (field, value) => {
    const dir = await hubFolder({ [field]: value });
    await expect(recognizeAdapter(dir)).rejects.toMatchObject({
      code: 'ADAPTERHUB_UNSUPPORTED',
      message: `${join(dir, 'adapter_config.json')}: "${field}": ${JSON.stringify(value)} is something that inject-adapter does not compute.`,
    });
  });

  it('are refused as a pickle, with what to do', async () => {
    const dir = await hubFolder({});
    await rm(join(dir, 'adapter.safetensors'));
    await writeFile(join(dir, 'pytorch_adapter.bin'), '');
    await expect(recognizeAdapter(dir)).rejects.toMatchObject({
      code: 'ADAPTERHUB_PICKLE',
      message: `${join(dir, 'pytorch_adapter.bin')} is a Python pickle, which can run code when it is read.`,
      hint: 'Save it again in Python: model.save_adapter(dir, name, use_safetensors=True).',
    });
  });

  it('are another method where they say so', async () => {
    for (const folder of ['adapterhub/union_seq_bn_lora/init', 'adapterhub/prefix/init', 'peft/lora/init']) expect(await recognizeAdapter(join(ORACLES, folder))).toBeUndefined();
  });

  async function hubFolder(changes: Readonly<Record<string, unknown>>): Promise<string> {
    const dir = await temporary();
    await cp(join(ORACLES, 'adapterhub/seq_bn/init'), dir, { recursive: true });
    const path = join(dir, 'adapter_config.json');
    const file = JSON.parse(await readFile(path, 'utf8')) as { config: Record<string, unknown> };
    await writeFile(path, JSON.stringify({ ...file, config: { ...file.config, ...changes } }));
    return dir;
  }
});
