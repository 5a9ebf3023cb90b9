/** Continues a sequence of tokens with a model, one at a time. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import type { CausalLM, GenerationRequest, KVCache, SampledToken } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { sampler } from './sampling.ts';

export interface GenerateOptions extends GenerationRequest {
  /** Undefined: the base model. */
  readonly stack?: string;
}

/** Tokens of a prompt that go through the model at once: others get their turn in between, and memory stays bounded. */
const PREFILL_TOKENS = 512;

/**
 * Yields tokens until one of `stopTokenIds` or `maxTokens`. The prompt is computed once and kept as keys and values; each
 * token after it costs one forward pass of one token. All tensors are freed when it ends, also when its consumer stops early.
 * @throws GraftError `PROMPT_EMPTY`, `CONTEXT_LENGTH` where prompt and `maxTokens` exceed `max_position_embeddings`,
 *   `SAMPLING_OPTION`, `LOGITS_NOT_FINITE`; the signal's reason when it fires
 */
export async function* generate(model: CausalLM, options: GenerateOptions): AsyncGenerator<SampledToken, void, undefined> {
  const { maxTokens, stack, signal, constraint } = options;
  checkLength(model.config.max_position_embeddings, options.inputIds.length, maxTokens);
  const choose = sampler(options);
  const stops = new Set(options.stopTokenIds);
  const cache = model.createCache();
  try {
    let pending = Int32Array.from(options.inputIds);
    for (let made = 0; made < maxTokens; made++) {
      const token = choose(await lastLogits(model, cache, pending, stack, signal), constraint);
      constraint?.accept(token.id);
      yield token;
      if (stops.has(token.id)) return;
      pending = Int32Array.of(token.id);
    }
  } finally {
    cache.dispose();
  }
}

/**
 * @param limit tokens that prompt and answer may have together
 * @throws GraftError `PROMPT_EMPTY`, `SAMPLING_OPTION`, `CONTEXT_LENGTH`
 */
export function checkLength(limit: number, prompt: number, maxTokens: number): void {
  if (prompt === 0) throw new GraftError('PROMPT_EMPTY', 'The prompt has no tokens.', { hint: 'Begin with the token that begins every text (bos_token), at least.' });
  if (!Number.isInteger(maxTokens) || maxTokens < 0) throw new GraftError('SAMPLING_OPTION', `max_tokens is ${maxTokens}; it must be a whole number, at least 0.`);
  if (prompt + maxTokens > limit) {
    throw new GraftError('CONTEXT_LENGTH', `The model takes at most ${limit} tokens; the prompt has ${prompt} and max_tokens asks for ${maxTokens} more.`, { hint: `Shorten the prompt, or ask for at most ${Math.max(0, limit - prompt)}.` });
  }
}

/** Extends the cache by the tokens and returns the logits `[V]` after the last. */
async function lastLogits(model: CausalLM, cache: KVCache, ids: Int32Array, stack: string | undefined, signal: AbortSignal | undefined): Promise<Float32Array> {
  for (let start = 0; ; start += PREFILL_TOKENS) {
    await nextTurn();
    signal?.throwIfAborted();
    const inputIds = ids.subarray(start, start + PREFILL_TOKENS);
    const before = cache.length;
    const batch = { inputIds, labels: inputIds, offsets: Int32Array.of(0, inputIds.length), positions: inputIds.map((_, i) => before + i) };
    const isLast = start + inputIds.length === ids.length;
    const logits = tf.tidy(() => {
      const hidden = model.forward(batch, { stack, caches: [cache] });
      return isLast ? model.logits(hidden, { stack, rows: Int32Array.of(inputIds.length - 1) }) : undefined;
    });
    if (logits === undefined) continue;
    try {
      return (await logits.data()) as Float32Array;
    } finally {
      logits.dispose();
    }
  }
}
