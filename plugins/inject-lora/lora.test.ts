import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { pythonJson, readTensors, type CausalLM, type Graft } from '../../core/index.ts';
import { logitsOf, meanLoss, meanLossValue } from '../../core/run/oracles/rows.ts';
import type { OracleBase } from '../../core/run/oracles/base.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import { METHOD_OPTIMIZER, trainSteps } from '../../core/run/oracles/train.ts';
import { expectFiniteDifferences } from '../../test/support/gradients.ts';
import { aroundOracleModel, inject, ORACLES } from '../../test/support/strategies.ts';
import { recognizeLora } from './peft-config.ts';

let host: OracleHost;
let base: OracleBase;
let model: CausalLM;
const grafts = aroundOracleModel((given) => ({ host, base, model } = given));

async function lora(options: Readonly<Record<string, unknown>> = {}, stack = 'lora'): Promise<Graft> {
  const graft = await inject(host, model, stack, 'lora', options);
  grafts.push(graft);
  return graft;
}

const temporary = (): Promise<string> => mkdtemp(join(tmpdir(), 'graft-lora-'));
const shapes = (graft: Graft): Record<string, readonly number[]> => Object.fromEntries(graft.trainables.map(({ name, variable }) => [name, variable.shape]));

describe('a LoRA', () => {
  it('computes what the base does until it is trained', async () => {
    await lora();
    expect(logitsOf(model, base.batch, { stack: 'lora' })).toEqual(logitsOf(model, base.batch, {}));
  });

  it('begins with A uniform within 1 / sqrt(in), and the same values for the same seed', async () => {
    const first = await lora({ r: 16 });
    const values = (graft: Graft): number[] => [...graft.trainables[0]!.variable.dataSync()];
    const bound = 1 / Math.sqrt(32);
    expect(values(first).every((value) => Math.abs(value) <= bound)).toBe(true);
    expect(Math.max(...values(first))).toBeGreaterThan(0.9 * bound);
    expect(values(await lora({ r: 16 }, 'again'))).toEqual(values(first));
    expect(values(await lora({ r: 16, init_lora_weights: 'gaussian' }, 'gaussian')).some((value) => Math.abs(value) > 1 / 16)).toBe(true);
    const random = await lora({ init_lora_weights: false }, 'random');
    expect(random.trainables.every(({ variable }) => variable.dataSync().some((value) => value !== 0))).toBe(true);
  });

  it('is exact in its gradients', async () => {
    const graft = await lora({ r: 2, init_lora_weights: false, target_modules: ['q_proj', 'down_proj'] });
    expectFiniteDifferences(() => model.loss(base.batch, { stack: 'lora' }), graft.trainables.map(({ variable }) => variable));
  });

  it('gives the base back bit for bit when it is removed, and leaves no tensor', async () => {
    const before = logitsOf(model, base.batch, {});
    const tensors = tf.memory().numTensors;
    const graft = await lora({ target_modules: 'all-linear', modules_to_save: ['norm', 'lm_head', 'embed_tokens'], init_lora_weights: false });
    trainSteps(model, 'lora', graft.trainables, [base.batch, base.batch], METHOD_OPTIMIZER);
    expect(logitsOf(model, base.batch, { stack: 'lora' })).not.toEqual(before);
    expect(logitsOf(model, base.batch, {})).toEqual(before);
    graft.remove();
    expect(logitsOf(model, base.batch, { stack: 'lora' })).toEqual(before);
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it('keeps the number of tensors over steps', async () => {
    const graft = await lora();
    trainSteps(model, 'lora', graft.trainables, [base.batch], METHOD_OPTIMIZER);
    const tensors = tf.memory().numTensors;
    trainSteps(model, 'lora', graft.trainables, Array.from({ length: 5 }, () => base.batch), METHOD_OPTIMIZER);
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it('drops inputs only while training, by the same mask for the same step', async () => {
    await lora({ lora_dropout: 0.5, init_lora_weights: false });
    const loss = (step?: number): number => meanLossValue(model, base.batch, { stack: 'lora', training: step === undefined ? undefined : { seed: 1, step } });
    expect(loss(3)).toBe(loss(3));
    expect(loss(3)).not.toBe(loss(4));
    expect(loss(3)).not.toBe(loss());
    expect(loss()).toBe(loss());
  });

  it('nests with another on the same layer: both add to what the base computes', async () => {
    const first = await lora({ init_lora_weights: false }, 'both');
    const alone = logitsOf(model, base.batch, { stack: 'both' });
    const second = await lora({ init_lora_weights: false, r: 3 }, 'both');
    const { value, grads } = tf.tidy(() => tf.variableGrads(() => meanLoss(model, base.batch, { stack: 'both' }), [...first.trainables, ...second.trainables].map(({ variable }) => variable))) as unknown as {
      value: tf.Scalar;
      grads: Record<string, tf.Tensor>;
    };
    expect(Object.values(grads).every((grad) => tf.tidy(() => tf.max(tf.abs(grad)).dataSync()[0]!) > 0)).toBe(true);
    value.dispose();
    tf.dispose(grads);
    second.remove();
    expect(logitsOf(model, base.batch, { stack: 'both' })).toEqual(alone);
  });
});

describe('its options', () => {
  it('give each module the rank and scale that its patterns say', async () => {
    const graft = await lora({ r: 4, target_modules: ['q_proj', 'v_proj'], rank_pattern: { q_proj: 2, 'layers.1.self_attn.v_proj': 6 } });
    expect(shapes(graft)).toMatchObject({
      'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight': [2, 32],
      'base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight': [16, 4],
      'base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight': [6, 32],
    });
  });

  it('train modules in full that modules_to_save names, as PEFT matches them', async () => {
    const graft = await lora({ modules_to_save: ['norm', 'lm_head'] });
    expect(Object.keys(shapes(graft)).filter((name) => !name.includes('lora_'))).toEqual([
      'base_model.model.model.layers.0.input_layernorm.weight',
      'base_model.model.model.layers.0.post_attention_layernorm.weight',
      'base_model.model.model.layers.1.input_layernorm.weight',
      'base_model.model.model.layers.1.post_attention_layernorm.weight',
      'base_model.model.model.norm.weight',
      'base_model.model.lm_head.weight',
    ]);
  });

  it.each([
    [{ target_modules: ['qproj'] }, ['target_modules', 0], 'target_modules: "qproj" matches no linear layer of this model. Did you mean "q_proj"?'],
    [{ target_modules: ['embed_tokens'] }, ['target_modules', 0], 'target_modules: "embed_tokens" matches no linear layer of this model.'],
    [{ rank_pattern: { k_proj: 2 } }, ['rank_pattern', 'k_proj'], 'rank_pattern: "k_proj" matches none of the targeted modules. Did you mean "q_proj"?'],
    [{ alpha_pattern: { gate_proj: 2 } }, ['alpha_pattern', 'gate_proj'], 'alpha_pattern: "gate_proj" matches none of the targeted modules.'],
    [{ modules_to_save: ['lmhead'] }, ['modules_to_save', 0], 'modules_to_save: "lmhead" matches no module of this model. Did you mean "lm_head"?'],
    [{ bias: 'all' }, ['bias'], 'bias: all asks to train biases, but this model has none.'],
    [{ bias: 'lora_only' }, ['bias'], 'bias: lora_only asks to train biases, but none of the targeted modules has one.'],
  ])('are refused where they name nothing: %j', async (options, option, message) => {
    const tensors = tf.memory().numTensors;
    await expect(lora(options)).rejects.toMatchObject({ option, message });
    expect(tf.memory().numTensors).toBe(tensors);
  });
});

describe('its files', () => {
  it("hold PEFT's names, shapes and config", async () => {
    const graft = await lora({ r: 4, lora_alpha: 8, target_modules: ['down_proj', 'gate_proj', 'k_proj', 'o_proj', 'q_proj', 'up_proj', 'v_proj'] });
    const dir = await temporary();
    expect(await graft.save(dir)).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    const theirs = join(ORACLES, 'peft/lora/init');
    const text = (from: string): Promise<string> => readFile(join(from, 'adapter_config.json'), 'utf8');
    const peft = JSON.parse(await text(theirs)) as { target_modules: string[] };
    const expected = { ...peft, base_model_name_or_path: (JSON.parse(await text(dir)) as Record<string, unknown>)['base_model_name_or_path'], target_modules: [...peft.target_modules].sort() };
    expect(await text(dir)).toBe(pythonJson(expected, ['lora_dropout']));
    const layout = async (from: string): Promise<[string, readonly number[]][]> => [...(await readTensors(join(from, 'adapter_model.safetensors')))].map(([name, { shape }]) => [name, shape] as [string, readonly number[]]).sort();
    expect(await layout(dir)).toEqual(await layout(theirs));
  });

  it('bring the same logits back', async () => {
    const graft = await lora({ init_lora_weights: false, modules_to_save: ['norm'] });
    trainSteps(model, 'lora', graft.trainables, [base.batch], METHOD_OPTIMIZER);
    const dir = await temporary();
    await graft.save(dir);
    const options = await recognizeLora(dir);
    const again = await lora({ ...options }, 'again');
    await again.load(dir);
    expect(logitsOf(model, base.batch, { stack: 'again' })).toEqual(logitsOf(model, base.batch, { stack: 'lora' }));
  });

  it('list the modules that all-linear stood for, as PEFT does', async () => {
    const dir = await temporary();
    await (await lora({ target_modules: 'all-linear', layers_to_transform: undefined, exclude_modules: ['mlp.up_proj'] })).save(dir);
    const { target_modules: modules } = JSON.parse(await readFile(join(dir, 'adapter_config.json'), 'utf8')) as { target_modules: string[] };
    expect(modules).toHaveLength(12);
    expect(modules).toContain('model.layers.1.mlp.down_proj');
  });

  it.each([
    ['use_dora', true],
    ['lora_bias', true],
    ['fan_in_fan_out', true],
    ['trainable_token_indices', [1, 2]],
    ['layer_replication', [[0, 1]]],
    ['target_parameters', ['experts.gate_up_proj']],
    ['something_newer', 3],
  ])("are refused where PEFT's %s asks for what this does not compute", async (field, value) => {
    const dir = await peftFolder({ [field]: value });
    await expect(recognizeLora(dir)).rejects.toMatchObject({
      code: 'PEFT_UNSUPPORTED',
      message: `${join(dir, 'adapter_config.json')}: "${field}": ${JSON.stringify(value)} is a variant of LoRA that inject-lora does not compute.`,
    });
  });

  it.each(['pissa', 'olora', 'corda', 'loftq'])('are refused where %s changed the base', async (init) => {
    await expect(recognizeLora(await peftFolder({ init_lora_weights: init }))).rejects.toThrow(`"init_lora_weights": "${init}" changes the base's own weights, so the adapter fits only the base that it made.`);
  });

  it('are read with the names that found nothing left out, as PEFT passes over them', async () => {
    expect((await recognizeLora(await peftFolder({ target_modules: ['q_proj', 'c_attn'] })))?.target_modules).toEqual(['q_proj']);
  });

  it('are no LoRA where another method is in them', async () => {
    expect(await recognizeLora(await peftFolder({ peft_type: 'IA3' }))).toBeUndefined();
    expect(await recognizeLora(await temporary())).toBeUndefined();
  });

  it('are refused where a tensor is missing, unknown, or of another shape, and nothing is changed', async () => {
    const dir = join(ORACLES, 'peft/rslora/init');
    const path = join(dir, 'adapter_model.safetensors');
    const before = (graft: Graft): number[][] => graft.trainables.map(({ variable }) => [...variable.dataSync()]);
    const wider = await lora({ r: 4, target_modules: ['q_proj', 'v_proj', 'k_proj'] });
    const values = before(wider);
    await expect(wider.load(dir)).rejects.toMatchObject({
      code: 'ADAPTER_TENSOR_MISSING',
      message: expect.stringContaining(`${path} has no tensor base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight, base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight`),
    });
    expect(before(wider)).toEqual(values);
    await expect((await lora({ r: 4, target_modules: ['q_proj'] }, 'b')).load(dir)).rejects.toMatchObject({ code: 'ADAPTER_TENSOR_UNKNOWN', message: expect.stringMatching(/holds base_model\.model\.model\.layers\.0\.self_attn\.v_proj\.lora_A\.weight, .* and 1 more, which belongs to nothing here\.$/) });
    await expect((await lora({ r: 8 }, 'c')).load(dir)).rejects.toMatchObject({
      code: 'ADAPTER_TENSOR_SHAPE',
      message: `${path}: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight is [4, 32], but [8, 32] is needed.`,
    });
  });

  it('are refused where the weights are not there', async () => {
    await expect((await lora()).load(await temporary())).rejects.toThrow('adapter_model.safetensors');
  });

  async function peftFolder(changes: Readonly<Record<string, unknown>>): Promise<string> {
    const dir = await temporary();
    await cp(join(ORACLES, 'peft/rslora/init'), dir, { recursive: true });
    const path = join(dir, 'adapter_config.json');
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), ...changes }));
    return dir;
  }
});

describe('merging', () => {
  it('gives the base the same logits without the graft', async () => {
    const own = await base.load();
    const graft = await inject(host, own, 'merge', 'lora', { target_modules: ['q_proj', 'up_proj', 'lm_head'], modules_to_save: ['norm'], init_lora_weights: false });
    trainSteps(own, 'merge', graft.trainables, [base.batch], METHOD_OPTIMIZER);
    const before = logitsOf(own, base.batch, { stack: 'merge' });
    await graft.merge?.();
    graft.remove();
    const after = logitsOf(own, base.batch, {});
    expect(Math.max(...before.map((value, index) => Math.abs(value - after[index]!)))).toBeLessThan(2e-5);
    own.dispose();
  });
});
