import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { GraftError, pythonJson, readJsonFile, type ModelConfig, type tf } from 'graft';
import { ACTIVATIONS } from './activation.ts';
import type { Bottleneck } from './bottleneck.ts';
import type { Design } from './design.ts';
import type { AdapterOptions } from './options.ts';

/** AdapterHub's file names (`adapters` 1.2, `save_adapter(..., use_safetensors=True)`). */
export const CONFIG_FILE = 'adapter_config.json';
export const ADAPTER_FILE = 'adapter.safetensors';
const PICKLE_FILE = 'pytorch_adapter.bin';
const VERSION = 'adapters.1.2.0';

type Fields = Readonly<Record<string, unknown>>;

/** Fields of AdapterHub's `BnConfig` that this plugin does not compute, as they are where they are off. */
const OFF: Fields = {
  cross_adapter: false,
  inv_adapter: null,
  phm_layer: false,
  stochastic_depth: 0,
};

/** Fields that say something only where one of the above is on, or only how the values began. */
const WITHOUT_EFFECT: Fields = {
  factorized_phm_W: true,
  factorized_phm_rule: false,
  hypercomplex_nonlinearity: 'glorot-uniform',
  init_weights_seed: null,
  inv_adapter_reduction_factor: null,
  learn_phm: true,
  phm_bias: true,
  phm_c_init: 'normal',
  phm_dim: 4,
  phm_init_range: 0.0001,
  phm_rank: 1,
  shared_W_phm: false,
  shared_phm_rule: true,
};

/** Fields that are options of this plugin. */
const READ = new Set<string>([
  'mh_adapter', 'output_adapter', 'is_parallel', 'reduction_factor', 'non_linearity', 'original_ln_before', 'original_ln_after', 'residual_before_ln',
  'adapter_residual_before_ln', 'ln_before', 'ln_after', 'scaling', 'dropout', 'use_gating', 'init_weights', 'leave_out',
]);

/** Fields that AdapterHub itself does not look at beside a block. */
const UNUSED_IN_PARALLEL = new Set(['original_ln_before', 'residual_before_ln', 'adapter_residual_before_ln', 'stochastic_depth']);

/** Fields that must be written as floats, as AdapterHub asks for their Python type. */
const FLOATS = ['scaling', 'dropout', 'stochastic_depth'];

/** The text of `adapter_config.json` as AdapterHub writes it: every field, keys sorted. */
export function adapterHubConfig(name: string, design: Design, model: ModelConfig): string {
  const architectures = model.raw['architectures'];
  const file: Fields = {
    config: sorted({ ...design, ...OFF, ...WITHOUT_EFFECT }),
    hidden_size: model.hidden_size,
    model_class: Array.isArray(architectures) ? architectures[0] : `${model.model_type[0]!.toUpperCase()}${model.model_type.slice(1)}ForCausalLM`,
    model_name: '',
    model_type: model.model_type,
    name,
    version: VERSION,
  };
  return pythonJson(file, FLOATS);
}

/**
 * The options of a bottleneck adapter that AdapterHub, or this plugin, saved.
 * @returns undefined where the folder holds another method
 * @throws GraftError `ADAPTERHUB_UNSUPPORTED` where it uses what this plugin does not compute, `ADAPTERHUB_PICKLE` where
 *   its weights are a Python pickle
 */
export async function recognizeAdapter(dir: string): Promise<Partial<AdapterOptions> | undefined> {
  const path = join(dir, CONFIG_FILE);
  const file = await readJsonFile(path);
  const fields = file?.['config'];
  if (file === undefined || !isFields(fields) || fields['architecture'] != null || !('mh_adapter' in fields)) return undefined;
  if (!existsSync(join(dir, ADAPTER_FILE)) && existsSync(join(dir, PICKLE_FILE))) {
    throw new GraftError('ADAPTERHUB_PICKLE', `${join(dir, PICKLE_FILE)} is a Python pickle, which can run code when it is read.`, {
      hint: 'Save it again in Python: model.save_adapter(dir, name, use_safetensors=True).',
    });
  }
  const parallel = fields['is_parallel'] === true;
  const used = Object.entries(fields).filter(([field]) => !(parallel && UNUSED_IN_PARALLEL.has(field)));
  for (const [field, value] of used) {
    const unknown = !READ.has(field) && !(field in WITHOUT_EFFECT) && value != null && value !== false && value !== 0;
    const unusable = (field === 'residual_before_ln' && typeof value !== 'boolean') || (field === 'non_linearity' && !(String(value).toLowerCase() in ACTIVATIONS));
    if (!unknown && !unusable) continue;
    throw new GraftError('ADAPTERHUB_UNSUPPORTED', `${path}: "${field}": ${JSON.stringify(value)} is something that inject-adapter does not compute.`);
  }
  const options = Object.fromEntries(used.filter(([field, value]) => READ.has(field) && value != null)) as Partial<AdapterOptions>;
  return {
    ...options,
    ...(options.non_linearity === undefined ? {} : { non_linearity: options.non_linearity.toLowerCase() }),
    ...(typeof file['name'] === 'string' ? { name: file['name'] } : {}),
  };
}

/** `model.layers.0.output_adapters.adapters.<adapter>.<tensor>` */
export function savedName(layer: string, location: string, adapter: string, tensor: string): string {
  return `${layer}.${location}.adapters.${adapter}.${tensor}`;
}

/** The tensors of one adapter by AdapterHub's names; with ln_before, the layers of its `adapter_down` count one further. */
export function tensorNames(tensors: Bottleneck): readonly { readonly name: string; readonly copies?: readonly string[]; readonly variable: tf.Variable }[] {
  const { down, up, scaling, gate, normBefore, normAfter } = tensors;
  const named: { name: string; copies?: readonly string[]; variable: tf.Variable }[] = [];
  const layer = (name: string, { weight, bias }: { readonly weight: tf.Variable; readonly bias: tf.Variable }, copy?: string): void => {
    named.push({ name: `${name}.bias`, copies: copy === undefined ? undefined : [`${copy}.bias`], variable: bias });
    named.push({ name: `${name}.weight`, copies: copy === undefined ? undefined : [`${copy}.weight`], variable: weight });
  };
  if (normBefore !== undefined) layer('adapter_norm_before', normBefore, 'adapter_down.0');
  layer(`adapter_down.${normBefore === undefined ? 0 : 1}`, down);
  if (normAfter !== undefined) layer('adapter_norm_after', normAfter);
  layer('adapter_up', up);
  if (gate !== undefined) layer('gate', gate);
  if (scaling !== undefined) named.push({ name: 'scaling', variable: scaling });
  return named;
}

/** The adapter's own name in a saved folder. */
export async function adapterNameIn(dir: string): Promise<string | undefined> {
  const name = (await readJsonFile(join(dir, CONFIG_FILE)))?.['name'];
  return typeof name === 'string' ? name : undefined;
}

function sorted(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
