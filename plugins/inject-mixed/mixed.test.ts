import { cp, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
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
import { aroundOracleModel, inject, ORACLES } from '../../test/support/strategies.ts';

const UNION = join(ORACLES, 'adapterhub/union_seq_bn_lora/init');

let host: OracleHost;
let base: OracleBase;
let model: CausalLM;
const grafts = aroundOracleModel((given) => ({ host, base, model } = given));

async function graftOf(use: string, options: Readonly<Record<string, unknown>>, stack: string): Promise<Graft> {
  const graft = await inject(host, model, stack, use, options);
  grafts.push(graft);
  return graft;
}

const mixed = (options: Readonly<Record<string, unknown>> = {}, stack = 'mixed'): Promise<Graft> => graftOf('mixed', options, stack);
const temporary = (): Promise<string> => mkdtemp(join(tmpdir(), 'graft-mixed-test-'));

describe('a mixture', () => {
  it('trains the LoRA and the Adapter together', async () => {
    const graft = await mixed({ lora: { r: 4 }, adapter: { adapter_size: 8 } });
    const before = graft.trainables.map(({ variable }) => [...variable.dataSync()]);
    const { losses } = trainSteps(model, 'mixed', graft.trainables, Array.from({ length: 4 }, () => base.batch), METHOD_OPTIMIZER);
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    graft.trainables.forEach(({ name, variable }, index) => expect([...variable.dataSync()], name).not.toEqual(before[index]));
    expect(graft.trainables.filter(({ name }) => name.includes('lora_'))).toHaveLength(8);
    expect(graft.trainables.filter(({ name }) => name.includes('adapters.'))).toHaveLength(8);
  });

  it('computes what the two do as entries of a config, one after the other', async () => {
    const options = { lora: { init_lora_weights: false, r: 4 }, adapter: { placement: 'both', adapter_size: 8 } };
    await mixed(options);
    await graftOf('lora', options.lora, 'list');
    await graftOf('adapter', options.adapter, 'list');
    expect(logitsOf(model, base.batch, { stack: 'mixed' })).toEqual(logitsOf(model, base.batch, { stack: 'list' }));
  });

  it('gives the base back bit for bit when it is removed, and leaves no tensor', async () => {
    const before = logitsOf(model, base.batch, {});
    const tensors = tf.memory().numTensors;
    const graft = await mixed({ lora: { init_lora_weights: false } });
    expect(logitsOf(model, base.batch, { stack: 'mixed' })).not.toEqual(before);
    graft.remove();
    expect(logitsOf(model, base.batch, { stack: 'mixed' })).toEqual(before);
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it.each([
    [{ lora: { rank: 4 } }, ['lora', 'rank']],
    [{ lora: { r: 0 } }, ['lora', 'r']],
    [{ adapter: { adapter_size: 'wide' } }, ['adapter', 'adapter_size']],
    [{ lora: { target_modules: ['qproj'] } }, ['lora', 'target_modules', 0]],
    [{ adapter: { adapter_size: 4, reduction_factor: 2 } }, ['adapter', 'adapter_size']],
  ])("refuses what either plugin refuses, at the option's place: %j", async (options, option) => {
    const tensors = tf.memory().numTensors;
    await expect(mixed(options)).rejects.toMatchObject({ name: 'GraftError', option });
    expect(tf.memory().numTensors).toBe(tensors);
  });
});

describe('its files', () => {
  it('are a folder for each, from which the same logits come back', async () => {
    const graft = await mixed({ lora: { r: 4 }, adapter: { adapter_size: 8 } });
    trainSteps(model, 'mixed', graft.trainables, [base.batch], METHOD_OPTIMIZER);
    const dir = await temporary();
    expect(await graft.save(dir)).toEqual(['lora/adapter_config.json', 'lora/adapter_model.safetensors', 'adapter/adapter_config.json', 'adapter/adapter.safetensors']);
    const { plugin, options } = await recognizeFolder(dir, host.injectPlugins);
    expect(plugin.name).toBe('mixed');
    await (await mixed(options, 'again')).load(dir);
    expect(logitsOf(model, base.batch, { stack: 'again' })).toEqual(logitsOf(model, base.batch, { stack: 'mixed' }));
  });

  it("are AdapterHub's union where they are asked to be, byte for byte what AdapterHub saved", async () => {
    const { plugin, options } = await recognizeFolder(UNION, host.injectPlugins);
    expect(plugin.name).toBe('mixed');
    const graft = await mixed(options);
    await graft.load(UNION);
    const dir = await temporary();
    expect([...(await graft.save(dir))].sort()).toEqual((await readdir(UNION)).sort());
    const config = (from: string): Promise<string> => readFile(join(from, 'adapter_config.json'), 'utf8');
    expect(await config(dir)).toBe(await config(UNION));
    expect(await readTensors(join(dir, 'adapter.safetensors'))).toEqual(await readTensors(join(UNION, 'adapter.safetensors')));
  });

  it.each([
    [{ use_rslora: true }, "AdapterHub's LoRA has no use_rslora"],
    [{ rank_pattern: { q_proj: 2 } }, "AdapterHub's LoRA has no rank_pattern"],
    [{ target_modules: ['o_proj'] }, 'AdapterHub puts no LoRA on model.layers.0.self_attn.o_proj'],
    [{ target_modules: ['model.layers.0.self_attn.q_proj', 'model.layers.1.self_attn.v_proj'] }, "AdapterHub's LoRA stands on the same modules of each layer"],
    [{ modules_to_save: ['model.norm'] }, "its tensor base_model.model.model.norm.weight has no place in AdapterHub's LoRA"],
  ])('are refused as a union that AdapterHub can not say: %j', async (lora, reason) => {
    const graft = await mixed({ lora, save_format: 'adapterhub' });
    await expect(graft.save(await temporary())).rejects.toMatchObject({
      code: 'UNION_UNSUPPORTED',
      option: ['save_format'],
      message: `This LoRA can't be saved as AdapterHub's union: ${reason}.`,
    });
  });

  it.each([
    ['use_gating', true],
    ['use_dora', true],
    ['composition_mode', 'scale'],
    ['vera_d', 0.1],
  ])("are refused where the union's LoRA has %s: %j", async (field, value) => {
    const dir = await temporary();
    await cp(UNION, dir, { recursive: true });
    const path = join(dir, 'adapter_config.json');
    const file = JSON.parse(await readFile(path, 'utf8')) as { config: { configs: Record<string, unknown>[] } };
    file.config.configs[1]![field] = value;
    await writeFile(path, JSON.stringify(file));
    await expect(recognizeFolder(dir, host.injectPlugins)).rejects.toMatchObject({
      code: 'ADAPTER_UNKNOWN',
      message: `${path}: "${field}": ${JSON.stringify(value)} of its LoRA is something that inject-mixed does not compute.`,
    });
  });

  it('say which layers the LoRA leaves out', async () => {
    const dir = await temporary();
    await (await mixed({ lora: { layers_to_transform: [0], target_modules: ['q_proj', 'down_proj'] }, save_format: 'adapterhub' })).save(dir);
    const { config } = JSON.parse(await readFile(join(dir, 'adapter_config.json'), 'utf8')) as { config: { configs: Record<string, unknown>[] } };
    expect(config.configs[1]).toMatchObject({ architecture: 'lora', attn_matrices: ['q'], intermediate_lora: true, output_lora: false, leave_out: [1] });
  });
});
