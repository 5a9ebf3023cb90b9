/** How a checkpoint's config.json describes its rotary embedding. */
import { GraftError } from 'graft';

/** llama3 scales low frequencies alone (Dubey et al. 2024, and transformers' `modeling_rope_utils`). */
export type RopeSettings =
  | { readonly type: 'default'; readonly theta: number }
  | { readonly type: 'linear'; readonly theta: number; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly theta: number;
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      /** `original_max_position_embeddings` */
      readonly trainedPositions: number;
    };

const DEFAULT_THETA = 10_000;

/**
 * Reads `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before).
 * @param positions `max_position_embeddings`, which llama3 takes for the trained length where it is not given
 * @throws GraftError `ROPE_TYPE` for a kind that is not computed, `MODEL_CONFIG` for a value that is missing or wrong
 */
export function ropeOf(file: string, raw: Readonly<Record<string, unknown>>, positions: number): RopeSettings {
  const given = raw['rope_scaling'] ?? raw['rope_parameters'] ?? {};
  const section = raw['rope_scaling'] != null ? 'rope_scaling' : 'rope_parameters';
  if (typeof given !== 'object' || Array.isArray(given)) throw new GraftError('MODEL_CONFIG', `${file}: ${section} must be an object.`, { option: ['model'] });
  const values = given as Readonly<Record<string, unknown>>;

  const number = (key: string, fallback?: unknown): number => {
    const value = values[key] ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    throw new GraftError('MODEL_CONFIG', value === undefined ? `${file}: ${section} has no ${key}.` : `${file}: ${section}.${key} is ${JSON.stringify(value)}; it must be a number above 0.`, { option: ['model'] });
  };
  const theta = number('rope_theta', raw['rope_theta'] ?? DEFAULT_THETA);
  const partial = values['partial_rotary_factor'] ?? raw['partial_rotary_factor'] ?? 1;
  if (partial !== 1) throw new GraftError('MODEL_CONFIG', `${file}: partial_rotary_factor is ${JSON.stringify(partial)}; only a rotary embedding of whole heads is computed.`, { option: ['model'] });

  const type = values['rope_type'] ?? values['type'] ?? 'default';
  switch (type) {
    case 'default':
      return { type: 'default', theta };
    case 'linear':
      return { type: 'linear', theta, factor: number('factor') };
    case 'llama3':
      return {
        type: 'llama3',
        theta,
        factor: number('factor'),
        lowFrequencyFactor: number('low_freq_factor'),
        highFrequencyFactor: number('high_freq_factor'),
        trainedPositions: number('original_max_position_embeddings', positions),
      };
    default:
      throw new GraftError('ROPE_TYPE', `${file}: ${section} is of type ${JSON.stringify(type)}, which is not computed.`, { option: ['model'], hint: 'Supported are default, linear and llama3.' });
  }
}
