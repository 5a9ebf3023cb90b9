import type { Dataset, Packed, RunEvent } from '../contracts/index.ts';
import { generate } from '../tensor/generate.ts';
import { IGNORED } from '../tensor/packed.ts';
import type { Session } from './session.ts';

const MAX_TOKENS = 48;
/** Tokens of a prompt taken from plain text, where nothing tells prompt and answer apart. */
const TEXT_PROMPT = 16;

/**
 * Lets the base and a stack answer a few examples, greedily, so that a person sees what was learned. Held-out examples are
 * taken where there are any.
 */
export async function emitSamples(session: Session, stack: string, dataset: Dataset, count: number, signal: AbortSignal, emit: (event: RunEvent) => void): Promise<void> {
  const sequences = dataset.eval.length > 0 ? dataset.eval : dataset.train;
  // The halves of a pair have one prompt.
  const prompts = sequences.flatMap((sequence) => promptsOf(sequence).slice(0, dataset.preferences === true ? 1 : undefined)).slice(0, count);
  for (const inputIds of prompts) {
    for (const which of [undefined, stack]) {
      if (signal.aborted) return;
      const text = await answer(session, inputIds, which, signal);
      emit({ type: 'generation', prompt: session.tokenizer.decode(inputIds), text, stack: which ?? null });
    }
  }
}

async function answer(session: Session, inputIds: Int32Array, stack: string | undefined, signal: AbortSignal): Promise<string> {
  const { model, tokenizer } = session;
  const room = model.config.max_position_embeddings - inputIds.length;
  const maxTokens = Math.min(MAX_TOKENS, room);
  const ids: number[] = [];
  if (maxTokens < 1) return '';
  for await (const { id } of generate(model, { inputIds, maxTokens, temperature: 0, stopTokenIds: tokenizer.eosTokenIds, stack, signal })) ids.push(id);
  return tokenizer.decode(ids);
}

/** What stands before the first token to be learned, of each example in a sequence; the beginning, of plain text. */
function promptsOf({ inputIds, labels, offsets }: Packed): Int32Array[] {
  const prompts: Int32Array[] = [];
  for (let i = 0; i + 1 < offsets.length; i++) {
    const [start, end] = [offsets[i]!, offsets[i + 1]!];
    const learned = labels.subarray(start, end).findIndex((label) => label !== IGNORED);
    // The label of a first token has nothing before it to be predicted from.
    const length = learned > 1 ? learned : Math.min(TEXT_PROMPT, Math.floor((end - start) / 2));
    if (length > 0) prompts.push(inputIds.slice(start, start + length));
  }
  return prompts;
}
