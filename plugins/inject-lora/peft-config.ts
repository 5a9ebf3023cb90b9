import { readJsonFile, ALL_LINEAR, GraftError, SafetensorsFile, type GraftTarget } from 'graft';
import { join } from 'node:path';
import type { LoraOptions } from './options.ts';

/** PEFT's file names. */
export const CONFIG_FILE = 'adapter_config.json';
export const ADAPTER_FILE = 'adapter_model.safetensors';

/** The release whose fields these are. */
const PEFT_VERSION = '0.21.0';

type Fields = Readonly<Record<string, unknown>>;

/** Fields of PEFT's that say nothing about the computation, or only about how the values began. */
const WITHOUT_EFFECT = new Set([
  'auto_mapping', 'base_model_name_or_path', 'corda_config', 'eva_config', 'inference_mode', 'lora_ga_config', 'megatron_core',
  'peft_type', 'peft_version', 'qalora_group_size', 'revision', 'runtime_config', 'task_type',
]);

/** Fields of PEFT's that this plugin does not compute, as they are where they are off. */
const OFF: Fields = {
  alora_invocation_tokens: null,
  arrow_config: null,
  fan_in_fan_out: false,
  kasa_config: null,
  layer_replication: null,
  loftq_config: {},
  lora_bias: false,
  megatron_config: null,
  monteclora_config: null,
  target_parameters: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_dora: false,
  use_qalora: false,
  velora_config: null,
};

/** `adapter_config.json` as PEFT writes it: every field, keys sorted. */
export function peftConfig(options: LoraOptions, target: GraftTarget, targeted: readonly string[]): Fields {
  const { target_modules: targets } = options;
  const fields: Fields = {
    ...OFF,
    auto_mapping: null,
    base_model_name_or_path: target.baseModel,
    corda_config: null,
    eva_config: null,
    inference_mode: true,
    lora_ga_config: null,
    megatron_core: 'megatron.core',
    peft_type: 'LORA',
    peft_version: PEFT_VERSION,
    qalora_group_size: 16,
    revision: null,
    task_type: 'CAUSAL_LM',
    ...options,
    exclude_modules: options.exclude_modules ?? null,
    layers_pattern: options.layers_pattern ?? null,
    layers_to_transform: options.layers_to_transform ?? null,
    modules_to_save: options.modules_to_save ?? null,
    // PEFT resolves the shorthand when it is used, and saves what it found.
    target_modules: typeof targets === 'string' && targets.toLowerCase() === ALL_LINEAR ? targeted : targets,
  };
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * The options of a LoRA that PEFT, or this plugin, saved.
 * @returns undefined where the folder holds another method
 * @throws GraftError `PEFT_UNSUPPORTED` where it uses a variant of LoRA that this plugin does not compute, by the field's name
 */
export async function recognizeLora(dir: string): Promise<Partial<LoraOptions> | undefined> {
  const path = join(dir, CONFIG_FILE);
  const fields = await readJsonFile(path);
  if (fields?.['peft_type'] !== 'LORA') return undefined;
  for (const [field, value] of Object.entries(fields)) {
    if (WITHOUT_EFFECT.has(field) || field in READ || isOff(field, value)) continue;
    throw new GraftError('PEFT_UNSUPPORTED', `${path}: "${field}": ${JSON.stringify(value)} is a variant of LoRA that inject-lora does not compute.`, {
      hint: 'Load it with a plugin that does, or merge it into its base with PEFT.',
    });
  }
  const options = Object.fromEntries(
    Object.entries(READ).flatMap(([field, read]) => {
      const value = read(fields[field], path);
      return value === undefined ? [] : [[field, value]];
    }),
  ) as Partial<LoraOptions>;
  return withoutAbsentNames(options, await tensorNames(join(dir, ADAPTER_FILE)));
}

/** How each option is read from the field of its name; null is PEFT's "not given". */
const READ: Readonly<Record<keyof LoraOptions, (value: unknown, path: string) => unknown>> = {
  r: given,
  lora_alpha: given,
  lora_dropout: given,
  target_modules: given,
  exclude_modules: (value) => (Array.isArray(value) && value.length === 0 ? undefined : given(value)),
  layers_to_transform: given,
  layers_pattern: (value) => (value === '' || (Array.isArray(value) && value.length === 0) ? undefined : given(value)),
  rank_pattern: given,
  alpha_pattern: given,
  use_rslora: given,
  bias: given,
  modules_to_save: given,
  ensure_weight_tying: given,
  init_lora_weights: (value, path) => {
    if (value == null || typeof value === 'boolean' || value === 'gaussian') return given(value);
    // These two choose other starting values and leave the base as it is.
    if (value === 'orthogonal' || value === 'eva') return true;
    throw new GraftError('PEFT_UNSUPPORTED', `${path}: "init_lora_weights": ${JSON.stringify(value)} changes the base's own weights, so the adapter fits only the base that it made.`, {
      hint: 'Convert it to a plain LoRA with PEFT (save_pretrained with path_initial_model_for_weight_conversion).',
    });
  },
};

function given(value: unknown): unknown {
  return value ?? undefined;
}

function isOff(field: string, value: unknown): boolean {
  if (value == null || value === false) return true;
  if (field in OFF) return JSON.stringify(value) === JSON.stringify(OFF[field]) || isEmpty(value);
  return isEmpty(value);
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

/** PEFT lets a list name modules that the base has not; such a name found nothing when the adapter was made, and is left out. */
function withoutAbsentNames(options: Partial<LoraOptions>, tensors: readonly string[]): Partial<LoraOptions> {
  const { target_modules: targets, exclude_modules: excluded, ...others } = options;
  const updated = tensors.filter((name) => name.includes('.lora_A.'));
  const names = (name: string): boolean => updated.some((tensor) => tensor.includes(`.${name}.lora_A.`));
  return {
    ...others,
    ...(targets === undefined ? {} : { target_modules: Array.isArray(targets) ? targets.filter(names) : targets }),
    ...(excluded === undefined ? {} : { exclude_modules: excluded }),
  };
}

async function tensorNames(path: string): Promise<readonly string[]> {
  const file = await SafetensorsFile.open(path);
  try {
    return [...file.tensors.keys()];
  } finally {
    await file.close();
  }
}
