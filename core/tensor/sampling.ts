/** Choosing the next token from its logits. */
import { GraftError } from '../kernel/errors.ts';
import { rng } from './rng.ts';

export interface SamplingOptions {
  /** 0: always the likeliest; 1: as the model says; in between sharper. Default 0. */
  readonly temperature?: number;
  /** Only the likeliest tokens whose probabilities add up to this (Holtzman et al. 2020). Default 1: all. */
  readonly topP?: number;
  /** Only this many of the likeliest. Default: all. */
  readonly topK?: number;
  /** The same seed chooses the same tokens. Default 0. */
  readonly seed?: number;
}

export interface SampledToken {
  readonly id: number;
  /** Natural logarithm of its probability under the model itself, whatever the temperature. */
  readonly logprob: number;
}

/**
 * @returns chooses a token from logits `[V]`; each call draws the next number of the seed's stream
 * @throws GraftError `SAMPLING_OPTION`; from the function `LOGITS_NOT_FINITE`
 */
export function sampler({ temperature = 0, topP = 1, topK, seed = 0 }: SamplingOptions): (logits: Float32Array) => SampledToken {
  check('temperature', temperature, temperature >= 0 && Number.isFinite(temperature), 'at least 0');
  check('top_p', topP, topP > 0 && topP <= 1, 'above 0 and at most 1');
  check('top_k', topK, topK === undefined || (Number.isInteger(topK) && topK > 0), 'a whole number above 0');
  const random = rng(seed, 'sampling');
  return (logits) => {
    const best = argmax(logits);
    const id = temperature === 0 ? best : draw(logits, logits[best]!, { temperature, topP, topK: topK ?? logits.length }, random.uniform());
    return { id, logprob: logits[id]! - logSumExp(logits, logits[best]!) };
  };
}

function check(option: string, value: unknown, holds: boolean, rule: string): void {
  if (!holds) throw new GraftError('SAMPLING_OPTION', `${option} is ${String(value)}; it must be ${rule}.`);
}

/** The first of the largest. */
function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i]!;
    if (Number.isNaN(logit) || logit === Infinity) {
      throw new GraftError('LOGITS_NOT_FINITE', `The model's logit of token ${i} is ${logit}.`, { hint: 'Its weights, or those of an adapter, are broken; a learning rate that was too high does this.' });
    }
    if (logit > logits[best]!) best = i;
  }
  return best;
}

function logSumExp(logits: Float32Array, max: number): number {
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  return max + Math.log(sum);
}

/** @param uniform in [0, 1) */
function draw(logits: Float32Array, max: number, { temperature, topP, topK }: Required<Omit<SamplingOptions, 'seed'>>, uniform: number): number {
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += weights[i] = Math.exp((logits[i]! - max) / temperature);
  const ids = topP < 1 || topK < logits.length ? likeliest(weights, total, topP, topK) : undefined;
  const kept = ids === undefined ? total : ids.reduce((sum, id) => sum + weights[id]!, 0);
  let left = uniform * kept;
  const count = ids?.length ?? weights.length;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const id = ids?.[i] ?? i;
    if (weights[id] === 0) continue;
    last = id;
    left -= weights[id]!;
    if (left < 0) return id;
  }
  return last;
}

/** Ids in falling order of weight: first the `topK` largest, then of these the fewest that make up `topP` of them. */
function likeliest(weights: Float64Array, total: number, topP: number, topK: number): readonly number[] {
  // All tokens lighter than this together weigh less than what top_p leaves out, so none of them can be chosen.
  const lightest = topK < weights.length ? 0 : ((1 - topP) * total) / weights.length;
  const ids: number[] = [];
  weights.forEach((weight, id) => {
    if (weight >= lightest) ids.push(id);
  });
  ids.sort((a, b) => weights[b]! - weights[a]! || a - b);
  ids.length = Math.min(ids.length, topK);
  const whole = topK < weights.length ? ids.reduce((sum, id) => sum + weights[id]!, 0) : total;
  let sum = 0;
  const end = ids.findIndex((id) => (sum += weights[id]!) >= topP * whole);
  return end === -1 ? ids : ids.slice(0, end + 1);
}
