import { chmod, cp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GraftError, SafetensorsFile, tf, type CausalLM, type RunEvent } from 'graft';
import { checkpoint, editWeights, readJson, temporaryFolder, tensor } from '../../test/support/checkpoint.ts';
import { loadCall, loadFolder } from '../../test/support/model.ts';
import { loadLlama, loadLlamaTokenizer } from './load.ts';

/** The error that loading a folder ends with. */
async function refusal(dir: string): Promise<GraftError> {
  try {
    (await loadFolder(dir)).model.dispose();
  } catch (error) {
    if (GraftError.is(error)) return error;
    throw error;
  }
  throw new Error('it was loaded');
}

const zeros = (...shape: number[]) => new Uint8Array(4 * shape.reduce((product, n) => product * n, 1));
const UP = 'model.layers.1.mlp.up_proj.weight';

describe('a config.json is refused by name', () => {
  const scaling = (rope_parameters: unknown) => ({ rope_parameters });
  it.each([
    ['an unknown architecture', { model_type: 'qwen3' }, 'MODEL_TYPE', 'is of a model of type "qwen3", which this plugin does not compute.'],
    ['no architecture', { model_type: undefined }, 'MODEL_CONFIG', 'has no model_type.'],
    ['another head', { architectures: ['LlamaForSequenceClassification'] }, 'MODEL_TYPE', 'is of a LlamaForSequenceClassification; fine-tuning needs a LlamaForCausalLM.'],
    ['a quantized checkpoint', { quantization_config: { quant_method: 'gptq' } }, 'MODEL_QUANTIZED', 'is of a checkpoint that is quantized already (gptq).'],
    ['another activation', { hidden_act: 'gelu' }, 'MODEL_CONFIG', 'hidden_act is "gelu"; only silu is supported.'],
    ['a missing size', { intermediate_size: undefined }, 'MODEL_CONFIG', 'has no intermediate_size.'],
    ['a size of another type', { hidden_size: '32' }, 'MODEL_CONFIG', 'hidden_size is "32"; must be a whole number above 0.'],
    ['heads that can not be grouped', { num_key_value_heads: 3 }, 'MODEL_CONFIG', 'num_key_value_heads is 3; must divide num_attention_heads (4).'],
    ['heads that do not fill the hidden size', { num_attention_heads: 5, num_key_value_heads: 5, head_dim: undefined }, 'MODEL_CONFIG', 'num_attention_heads is 5; must divide hidden_size (32), since there is no head_dim.'],
    ['heads that can not be rotated', { head_dim: 7 }, 'MODEL_CONFIG', 'head_dim is 7; must be even, for the rotary embedding.'],
    ['a flag of another type', { mlp_bias: 'yes' }, 'MODEL_CONFIG', 'mlp_bias is "yes"; must be true or false.'],
    ['yarn', scaling({ rope_type: 'yarn', rope_theta: 1e4, factor: 2 }), 'ROPE_TYPE', 'rope_parameters is of type "yarn", which is not computed.'],
    ['dynamic, in the old spelling', { rope_parameters: undefined, rope_scaling: { type: 'dynamic', factor: 2 } }, 'ROPE_TYPE', 'rope_scaling is of type "dynamic", which is not computed.'],
    ['a scaling without its factor', scaling({ rope_type: 'llama3', rope_theta: 1e4, factor: 8, low_freq_factor: 1 }), 'MODEL_CONFIG', 'rope_parameters has no high_freq_factor.'],
    ['a factor that is none', scaling({ rope_type: 'linear', rope_theta: 1e4, factor: -2 }), 'MODEL_CONFIG', 'rope_parameters.factor is -2; it must be a number above 0.'],
    ['a partial rotary embedding', { partial_rotary_factor: 0.5 }, 'MODEL_CONFIG', 'partial_rotary_factor is 0.5'],
  ])('%s', async (_, config, code, message) => {
    const dir = await checkpoint('peft', config);
    const error = await refusal(dir);
    expect(error.code).toBe(code);
    expect(error.message).toContain(`${join(dir, 'config.json')}`);
    expect(error.message).toContain(message);
    expect(error.option).toEqual(['model']);
  });

  it('a Mistral that does not say its key-value heads', async () => {
    expect((await refusal(await checkpoint('mistral_window', { num_key_value_heads: undefined }))).message).toContain('has no num_key_value_heads.');
  });
});

describe('what a config.json leaves out is what transformers assumes', () => {
  const configOf = async (from: string, config: Record<string, unknown>) => {
    const { model } = await loadFolder(await checkpoint(from, config));
    model.dispose();
    return model.config as CausalLM['config'] & { sliding_window?: number };
  };

  it('for a Llama', async () => {
    const config = await configOf('peft', { rms_norm_eps: undefined, max_position_embeddings: undefined, hidden_act: undefined, head_dim: undefined, tie_word_embeddings: undefined, rope_parameters: undefined, attention_bias: undefined });
    expect(config).toMatchObject({ rms_norm_eps: 1e-6, max_position_embeddings: 2048, head_dim: 8, tie_word_embeddings: false, rope: { type: 'default', theta: 10_000 } });
  });

  it('for the window of a Mistral, which null switches off', async () => {
    expect((await configOf('mistral_window', { sliding_window: undefined })).sliding_window).toBe(4096);
    expect((await configOf('mistral_window', { sliding_window: null })).sliding_window).toBeUndefined();
  });

  it('and generation_config.json comes before config.json for the tokens that end', async () => {
    const dir = await checkpoint('peft', { eos_token_id: [2, 5] });
    expect((await loadFolder(dir)).model.config.eos_token_ids).toEqual([2, 5]);
    await writeFile(join(dir, 'generation_config.json'), '{"eos_token_id": [7, 8]}');
    const { model, tokenizer } = await loadFolder(dir);
    expect(model.config.eos_token_ids).toEqual([7, 8]);
    expect(tokenizer.eosTokenIds).toEqual([7, 8]);
  });
});

describe('a checkpoint is refused by name', () => {
  it('with a tensor missing', async () => {
    const dir = await checkpoint('peft');
    await editWeights(dir, (tensors) => tensors.delete(UP));
    expect(await refusal(dir)).toMatchObject({ code: 'MODEL_TENSOR_MISSING', message: `${join(dir, 'model.safetensors')} has no tensor ${UP}.`, option: ['model'] });
  });

  it('with a tensor of another shape', async () => {
    const dir = await checkpoint('peft');
    await editWeights(dir, (tensors) => tensors.set(UP, tensor(UP, [48, 16], zeros(48, 16))));
    expect(await refusal(dir)).toMatchObject({ code: 'MODEL_TENSOR_SHAPE', message: `${join(dir, 'model.safetensors')}: ${UP} is [48, 16], and config.json asks for [48, 32].`, option: ['model'] });
  });

  it('with tensors that nothing uses, but for inverse frequencies, which were computed', async () => {
    const dir = await checkpoint('peft');
    const frequencies = 'model.layers.0.self_attn.rotary_emb.inv_freq';
    await editWeights(dir, (tensors) => tensors.set(frequencies, tensor(frequencies, [4], zeros(4))));
    (await loadFolder(dir)).model.dispose();
    const bias = 'model.layers.0.self_attn.q_proj.bias';
    await editWeights(dir, (tensors) => tensors.set(bias, tensor(bias, [32], zeros(32))));
    const error = await refusal(dir);
    expect(error).toMatchObject({ code: 'MODEL_TENSOR_UNKNOWN', option: ['model'] });
    expect(error.message).toContain(`has ${bias}, which a llama with this config.json does not have.`);
  });

  it('with an output layer of its own beside a tied embedding, unless the two are the same', async () => {
    const dir = await checkpoint('peft', { tie_word_embeddings: true });
    expect((await refusal(dir)).message).toContain('has an lm_head.weight that differs from model.embed_tokens.weight, but config.json says tie_word_embeddings.');
    await editWeights(dir, (tensors) => tensors.set('lm_head.weight', { ...tensors.get('model.embed_tokens.weight')!, name: 'lm_head.weight' }));
    (await loadFolder(dir)).model.dispose();
  });

  it('with integers for weights', async () => {
    const dir = await checkpoint('peft');
    await editWeights(dir, (tensors) => tensors.set(UP, tensor(UP, [48, 32], zeros(48, 32), 'I32')));
    expect(await refusal(dir)).toMatchObject({ code: 'SAFETENSORS_DTYPE', message: `${UP} of ${join(dir, 'model.safetensors')} is I32; weights must be F32, F16 or BF16.`, option: ['model'] });
  });

  it('with a file cut off', async () => {
    const dir = await checkpoint('peft');
    const path = join(dir, 'model.safetensors');
    await truncate(path, (await readFile(path)).length - 100);
    const error = await refusal(dir);
    expect(error).toMatchObject({ code: 'SAFETENSORS_TRUNCATED', option: ['model'] });
    expect(error.message).toContain(`${path} is cut off: it has`);
  });

  it('with a shard missing', async () => {
    const dir = await checkpoint('biases_tied_sharded');
    await rm(join(dir, 'model-00002-of-00003.safetensors'));
    expect(await refusal(dir)).toMatchObject({ code: 'SAFETENSORS_MISSING', message: `${join(dir, 'model-00002-of-00003.safetensors')} does not exist.`, option: ['model'] });
  });

  it('with its weights as a pickle only, or not at all', async () => {
    const dir = await checkpoint('peft');
    await rm(join(dir, 'model.safetensors'));
    expect((await refusal(dir)).message).toBe(`${dir} has neither model.safetensors nor model.safetensors.index.json.`);
    await writeFile(join(dir, 'pytorch_model.bin'), '');
    const error = await refusal(dir);
    expect(error.message).toBe(`${dir} has its weights in pytorch_model.bin only, a Python pickle that could run code when read.`);
    expect(error.hint).toContain('safe_serialization=True');
  });

  it.each([
    ['config.json', 'MODEL_FILE_MISSING', 'has no config.json.'],
    ['tokenizer.json', 'TOKENIZER_MISSING', 'has no tokenizer.json.'],
  ])('without %s', async (file, code, message) => {
    const dir = await checkpoint('peft');
    await rm(join(dir, file));
    expect(await refusal(dir)).toMatchObject({ code, message: `${dir} ${message}`, option: ['model'] });
  });

  it('with a tokenizer.json that is none', async () => {
    const dir = await checkpoint('peft');
    await writeFile(join(dir, 'tokenizer.json'), '{"model": {"type": "Abacus"}}');
    expect(await refusal(dir)).toMatchObject({ code: 'TOKENIZER', option: ['model'] });
    await writeFile(join(dir, 'tokenizer.json'), '{');
    expect((await refusal(dir)).message).toContain(`${join(dir, 'tokenizer.json')} is not JSON`);
  });

  it('that is a path leading nowhere, or to a file', async () => {
    const dir = await temporaryFolder();
    expect(await refusal(join(dir, 'none'))).toMatchObject({ code: 'MODEL_NOT_FOUND', message: `${join(dir, 'none')} does not exist.`, option: ['model'] });
    await writeFile(join(dir, 'file'), '');
    expect((await refusal(join(dir, 'file'))).message).toBe(`${join(dir, 'file')} is a file; model must be the folder that holds config.json.`);
  });

  it('leaving no tensor behind', async () => {
    const dir = await checkpoint('peft');
    await editWeights(dir, (tensors) => tensors.set('model.norm.weight', tensor('model.norm.weight', [32], zeros(32), 'I32')));
    const before = tf.memory().numTensors;
    await refusal(dir);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('saving', () => {
  it('writes the checkpoint again, bit for bit, in its own types', async () => {
    for (const name of ['peft', 'biases_tied_sharded', 'mistral_window']) {
      const dir = await checkpoint(name);
      const { model } = await loadFolder(dir);
      const out = await temporaryFolder();
      const files = await model.save(out);
      expect([...files].sort()).toEqual((await readdir(out)).sort());
      expect(files).toContain('tokenizer.json');
      const [before, after] = [await SafetensorsFile.open(dir), await SafetensorsFile.open(out)];
      expect([...after.tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort());
      for (const [tensorName, { dtype, shape }] of before.tensors) {
        expect(after.tensors.get(tensorName)).toMatchObject({ dtype, shape });
        expect(Buffer.compare(Buffer.from(before.bytes(tensorName)), after.bytes(tensorName)), tensorName).toBe(0);
      }
      expect(await readJson(join(out, 'config.json'))).toEqual(await readJson(join(dir, 'config.json')));
      await before.close();
      await after.close();
      model.dispose();
    }
  });

  it('writes what was assigned, in shards that load again', async () => {
    const { model } = await loadFolder(await checkpoint('llama3_rope'));
    const name = 'model.layers.0.self_attn.q_proj.weight';
    model.target('s').parameters.get(name)!.assign(tf.fill([32, 32], 0.25) as tf.Tensor2D);
    const out = await temporaryFolder();
    const files = await model.save(out, { maxShardBytes: 8192 });
    expect(files.filter((file) => file.startsWith('model-')).length).toBeGreaterThan(2);
    const again = await loadFolder(out);
    const values = again.model.parameters.get(name)!.read();
    expect(new Set(values.dataSync())).toEqual(new Set([0.25]));
    values.dispose();
    again.model.dispose();
    model.dispose();
  });

  it('gives the owner files to write to, whatever the base allows', async () => {
    const dir = join(await temporaryFolder(), 'read-only');
    await cp(await checkpoint('peft'), dir, { recursive: true });
    for (const file of await readdir(dir)) await chmod(join(dir, file), 0o444);
    const { model } = await loadFolder(dir);
    const out = await temporaryFolder();
    for (const file of await model.save(out)) expect((await stat(join(out, file))).mode & 0o200, file).toBe(0o200);
    model.dispose();
  });

  it('says so where the folder that it was loaded from has gone', async () => {
    const dir = await checkpoint('peft');
    const copy = join(await temporaryFolder(), 'copy');
    await cp(dir, copy, { recursive: true });
    const { model } = await loadFolder(copy);
    await rm(copy, { recursive: true });
    await expect(model.save(await temporaryFolder())).rejects.toThrow(`${join(copy, 'config.json')} has gone since the model was loaded`);
    model.dispose();
  });
});

describe('loading', () => {
  it('tells of every byte of the weights', async () => {
    const events: RunEvent[] = [];
    const { model } = await loadLlama({ ...(await loadCall(await checkpoint('biases_tied_sharded'))), emit: (event) => events.push(event) });
    const bytes = [...model.parameters.values()].reduce((sum, { size }) => sum + 2 * size, 0);
    expect(events.length).toBe(model.parameters.size);
    expect(events[events.length - 1]).toEqual({ type: 'progress', label: 'weights', done: bytes, total: bytes, unit: 'bytes' });
    model.dispose();
  });

  it('stops where it is cancelled, and leaves no tensor behind', async () => {
    const call = await loadCall(await checkpoint('peft'));
    const before = tf.memory().numTensors;
    const controller = new AbortController();
    const emit = () => controller.abort(new Error('cancelled by the user'));
    await expect(loadLlama({ ...call, signal: controller.signal, emit })).rejects.toThrow('cancelled by the user');
    expect(tf.memory().numTensors).toBe(before);
  });

  it('of config and tokenizer alone needs no weights', async () => {
    const dir = await checkpoint('peft');
    await rm(join(dir, 'model.safetensors'));
    const { config, tokenizer } = await loadLlamaTokenizer(await loadCall(dir));
    expect(config.vocab_size).toBe(64);
    expect([...tokenizer.encode('7 63 0')]).toEqual([7, 63, 0]);
  });

  it('finds a folder relative to the config file', async () => {
    const dir = await checkpoint('peft');
    const { model } = await loadLlama({ ...(await loadCall(`./${basename(dir)}`)), baseDir: dirname(dir) });
    expect(model.target('s').baseModel).toBe(`./${basename(dir)}`);
    model.dispose();
  });

  it('warns of attention dropout, which is not computed', async () => {
    const warnings: string[] = [];
    const call = await loadCall(await checkpoint('peft', { attention_dropout: 0.1 }));
    (await loadLlama({ ...call, log: { ...call.log, warn: (message) => warnings.push(message) } })).model.dispose();
    expect(warnings).toEqual([expect.stringContaining('attention_dropout 0.1')]);
  });

  it('is told of the options that have no effect on it', async () => {
    const warnings: string[] = [];
    const dir = await checkpoint('peft');
    const call = await loadCall(dir, { init: 'random', dtype: 'bf16', revision: 'v2' });
    (await loadLlama({ ...call, log: { ...call.log, warn: (message) => warnings.push(message) } })).model.dispose();
    expect(warnings).toEqual([
      `revision: v2 has no effect: ${dir} is a folder, and only a model on the Hub has revisions.`,
      'dtype: bf16 has no effect with init: random, whose weights are drawn and kept in f32.',
    ]);
  });
});

describe('new weights', () => {
  it('are drawn from the seed alone: matrices with the deviation of the config, norms one, biases zero', async () => {
    const dir = await checkpoint('biases_tied_sharded', { initializer_range: 0.1 });
    for (const file of (await readdir(dir)).filter((name) => name.includes('safetensors'))) await rm(join(dir, file));
    const call = await loadCall(dir, { init: 'random' });
    const valuesOf = async (seed: number) => {
      const { model } = await loadLlama({ ...call, seed });
      const values = new Map([...model.parameters].map(([name, parameter]) => [name, tf.tidy(() => [...parameter.read().dataSync()])]));
      model.dispose();
      return values;
    };
    const [values, again, other] = [await valuesOf(1), await valuesOf(1), await valuesOf(2)];
    expect(again).toEqual(values);
    const embedding = values.get('model.embed_tokens.weight')!;
    expect(other.get('model.embed_tokens.weight')).not.toEqual(embedding);
    const deviation = Math.sqrt(embedding.reduce((sum, value) => sum + value * value, 0) / embedding.length);
    expect(Math.abs(deviation - 0.1)).toBeLessThan(0.01);
    expect(new Set(values.get('model.norm.weight'))).toEqual(new Set([1]));
    expect(new Set(values.get('model.layers.1.mlp.up_proj.bias'))).toEqual(new Set([0]));
  });
});
