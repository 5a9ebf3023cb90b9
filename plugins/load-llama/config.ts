/** config.json of the families that this plugin computes: Llama and Mistral. */
import { GraftError, type ModelConfig } from 'graft';
import { ropeOf, type RopeSettings } from './rope-settings.ts';

export interface LlamaConfig extends ModelConfig {
  /** Biases on q, k, v and o. */
  readonly attention_bias: boolean;
  /** Biases on gate, up and down. */
  readonly mlp_bias: boolean;
  /** Keys that a query sees, itself included; undefined: all before it. */
  readonly sliding_window?: number;
  readonly rope: RopeSettings;
}

const ARCHITECTURES: Readonly<Record<string, string>> = { llama: 'LlamaForCausalLM', mistral: 'MistralForCausalLM' };
/** What transformers assumes where the file does not say. */
const DEFAULT_POSITIONS: Readonly<Record<string, number>> = { llama: 2048, mistral: 131_072 };
const DEFAULT_WINDOW = 4096;

/**
 * Reads and checks a config.json.
 * @param file its path, for errors
 * @param eos ids that generation_config.json or the tokenizer add
 * @throws GraftError `MODEL_TYPE`, `MODEL_CONFIG` or `MODEL_QUANTIZED`, naming what is missing or unknown
 */
export function parseConfig(file: string, raw: Readonly<Record<string, unknown>>, eos: readonly number[] = []): LlamaConfig {
  const fields = new Fields(file, raw);
  const model_type = typeOf(fields);
  refuseUnsupported(fields);
  const hidden_size = fields.size('hidden_size');
  const heads = fields.size('num_attention_heads');
  const groups = model_type === 'mistral' ? fields.size('num_key_value_heads') : fields.size('num_key_value_heads', heads);
  if (heads % groups !== 0) throw fields.wrong('num_key_value_heads', `must divide num_attention_heads (${heads})`);
  if (raw['head_dim'] == null && hidden_size % heads !== 0) throw fields.wrong('num_attention_heads', `must divide hidden_size (${hidden_size}), since there is no head_dim`);
  const head_dim = fields.size('head_dim', hidden_size / heads);
  if (head_dim % 2 !== 0) throw fields.wrong('head_dim', 'must be even, for the rotary embedding');
  const positions = fields.size('max_position_embeddings', DEFAULT_POSITIONS[model_type]);
  return {
    model_type,
    vocab_size: fields.size('vocab_size'),
    hidden_size,
    intermediate_size: fields.size('intermediate_size'),
    num_hidden_layers: fields.size('num_hidden_layers'),
    num_attention_heads: heads,
    num_key_value_heads: groups,
    head_dim,
    max_position_embeddings: positions,
    rms_norm_eps: fields.positive('rms_norm_eps', 1e-6),
    tie_word_embeddings: fields.flag('tie_word_embeddings'),
    attention_bias: model_type === 'llama' && fields.flag('attention_bias'),
    mlp_bias: model_type === 'llama' && fields.flag('mlp_bias'),
    sliding_window: model_type === 'mistral' && raw['sliding_window'] !== null ? fields.size('sliding_window', DEFAULT_WINDOW) : undefined,
    rope: ropeOf(file, raw, positions),
    bos_token_id: tokenIds(raw['bos_token_id'])[0],
    eos_token_ids: eos.length > 0 ? [...new Set(eos)] : tokenIds(raw['eos_token_id']),
    raw,
  };
}

/** `eos_token_id` and its like: a number, a list, or nothing. */
export function tokenIds(value: unknown): readonly number[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((id): id is number => Number.isInteger(id));
}

function typeOf(fields: Fields): string {
  const { raw, file } = fields;
  const type = raw['model_type'];
  const supported = Object.keys(ARCHITECTURES);
  if (type === undefined) throw fields.missing('model_type');
  if (typeof type !== 'string' || !supported.includes(type)) {
    throw new GraftError('MODEL_TYPE', `${file} is of a model of type ${JSON.stringify(type)}, which this plugin does not compute.`, {
      option: ['model'],
      hint: `It loads ${supported.join(' and ')}.`,
    });
  }
  const architectures = raw['architectures'];
  if (Array.isArray(architectures) && !architectures.some((name) => String(name).toLowerCase() === ARCHITECTURES[type]!.toLowerCase())) {
    throw new GraftError('MODEL_TYPE', `${file} is of a ${architectures.join(', ')}; fine-tuning needs a ${ARCHITECTURES[type]}.`, { option: ['model'] });
  }
  return type;
}

function refuseUnsupported(fields: Fields): void {
  const { raw, file } = fields;
  if (raw['quantization_config'] != null) {
    const method = (raw['quantization_config'] as { quant_method?: unknown }).quant_method;
    throw new GraftError('MODEL_QUANTIZED', `${file} is of a checkpoint that is quantized already${method === undefined ? '' : ` (${String(method)})`}.`, {
      option: ['model'],
      hint: 'Load the original checkpoint; the option dtype can keep its weights in fewer bits.',
    });
  }
  const activation = raw['hidden_act'] ?? 'silu';
  if (activation !== 'silu' && activation !== 'swish') throw fields.wrong('hidden_act', 'only silu is supported');
}

/** The keys of one file, checked as they are read. */
class Fields {
  readonly file: string;
  readonly raw: Readonly<Record<string, unknown>>;

  constructor(file: string, raw: Readonly<Record<string, unknown>>) {
    this.file = file;
    this.raw = raw;
  }

  size(key: string, fallback?: number): number {
    const value = this.raw[key] ?? fallback;
    if (value === undefined) throw this.missing(key);
    if (!Number.isInteger(value) || (value as number) < 1) throw this.wrong(key, 'must be a whole number above 0');
    return value as number;
  }

  positive(key: string, fallback: number): number {
    const value = this.raw[key] ?? fallback;
    if (typeof value !== 'number' || !(value > 0)) throw this.wrong(key, 'must be a number above 0');
    return value;
  }

  flag(key: string): boolean {
    const value = this.raw[key] ?? false;
    if (typeof value !== 'boolean') throw this.wrong(key, 'must be true or false');
    return value;
  }

  missing(key: string): GraftError {
    return new GraftError('MODEL_CONFIG', `${this.file} has no ${key}.`, { option: ['model'], hint: 'It is not a whole config.json of a Llama or Mistral.' });
  }

  wrong(key: string, rule: string): GraftError {
    return new GraftError('MODEL_CONFIG', `${this.file}: ${key} is ${JSON.stringify(this.raw[key])}; ${rule}.`, { option: ['model'] });
  }
}
