/** Choosing the next token from its logits. */
import type { SampledToken, SamplingOptions, TokenConstraint } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { rng } from './rng.ts';

/** Chooses a token from logits `[V]`, which a constraint changes in place. */
export type Choose = (logits: Float32Array, constraint?: Pick<TokenConstraint, 'mask'>) => SampledToken;

/**
 * @returns chooses a token; each call draws the next number of the seed's stream
 * @throws GraftError `SAMPLING_OPTION`; from the function `LOGITS_NOT_FINITE`, `CONSTRAINT_EMPTY` where no token is allowed
 */
export function sampler({ temperature = 0, topP = 1, topK, seed = 0, logprobs = true, topLogprobs = 0 }: SamplingOptions): Choose {
  check('temperature', temperature, temperature >= 0 && Number.isFinite(temperature), 'at least 0');
  check('top_p', topP, topP > 0 && topP <= 1, 'above 0 and at most 1');
  check('top_k', topK, topK === undefined || (Number.isInteger(topK) && topK > 0), 'a whole number above 0');
  check('top_logprobs', topLogprobs, Number.isInteger(topLogprobs) && topLogprobs >= 0, 'a whole number, at least 0');
  const random = rng(seed, 'sampling');
  return (logits, constraint) => {
    let best = argmax(logits);
    const logSum = logprobs ? logSumExp(logits, logits[best]!) : Number.NaN;
    const top = logprobs && topLogprobs > 0 ? largest(logits, topLogprobs).map((id) => ({ id, logprob: logits[id]! - logSum })) : undefined;
    const free = constraint === undefined || !logprobs ? undefined : Float32Array.from(logits);
    if (constraint !== undefined) {
      constraint.mask(logits);
      best = argmax(logits);
      if (logits[best] === -Infinity) throw new GraftError('CONSTRAINT_EMPTY', 'No token of the vocabulary can continue the text as the constraint asks.');
    }
    const id = temperature === 0 ? best : draw(logits, logits[best]!, { temperature, topP, topK: topK ?? logits.length }, random.uniform());
    const token = { id, logprob: (free ?? logits)[id]! - logSum };
    return top === undefined ? token : { ...token, top };
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
function draw(logits: Float32Array, max: number, { temperature, topP, topK }: Required<Pick<SamplingOptions, 'temperature' | 'topP' | 'topK'>>, uniform: number): number {
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

/** Ids of the `count` largest, in falling order; the first of equal ones comes first. */
function largest(logits: Float32Array, count: number): readonly number[] {
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (ids.length === count && logits[id]! <= logits[ids[count - 1]!]!) continue;
    let at = ids.length;
    while (at > 0 && logits[id]! > logits[ids[at - 1]!]!) at--;
    ids.splice(at, 0, id);
    if (ids.length > count) ids.pop();
  }
  return ids;
}
