/** The base and what several runs made of it, answering the same prompts. */
import type { Dataset, Packed, Tokenizer } from '../contracts/index.ts';
import type { RunConfig } from '../config/index.ts';
import { encodeChat } from '../data/encode-chat.ts';
import { generate } from '../tensor/generate.ts';
import { IGNORED } from '../tensor/packed.ts';
import { Session, type RunHost } from './session.ts';

const SHOWN = 6;
const MAX_TOKENS = 40;

/** One strategy: its config, and the folder of its trained grafts. */
export interface Contender {
  readonly name: string;
  readonly config: RunConfig;
  readonly adapters: string;
}

export interface Comparison {
  /** `base`, then each contender. */
  readonly names: readonly string[];
  /** Prompts as people read them, each with an answer per name. */
  readonly rows: readonly { readonly prompt: string; readonly answers: readonly string[] }[];
  /** How many held-out examples were answered token by token as expected, per name; undefined where prompts were given. */
  readonly exact?: { readonly of: number; readonly right: readonly number[] };
}

interface Question {
  readonly inputIds: Int32Array;
  readonly shown: string;
  /** Undefined for a prompt that a person gave. */
  readonly expected?: Int32Array;
}

/**
 * Answers greedily: the prompts given, or else examples that were held out, spread evenly over them.
 * @param contenders at least one, all on the same base and data
 * @param checked how many held-out examples are answered and compared word for word; a few of them are in `rows`
 */
export async function compareAnswers(contenders: readonly Contender[], host: RunHost, prompts: readonly string[], checked: number): Promise<Comparison> {
  const columns: (readonly Int32Array[])[] = [];
  let questions: readonly Question[] = [];
  let tokenizer: Tokenizer | undefined;
  for (const [index, { config, adapters }] of contenders.entries()) {
    const session = await Session.open(config, host);
    try {
      if (index === 0) {
        tokenizer = session.tokenizer;
        questions = prompts.length > 0 ? prompts.map((prompt) => asked(prompt, session.tokenizer)) : heldOut(await session.preprocess(), session.tokenizer, Math.max(checked, SHOWN));
        columns.push(await answersOf(session, questions, undefined, host.signal));
      }
      const { stack } = await session.inject('compare', { from: adapters });
      columns.push(await answersOf(session, questions, stack, host.signal));
    } finally {
      await session.dispose();
    }
  }
  const text = (ids: Int32Array): string => (tokenizer?.decode(ids) ?? '').trim().replaceAll('\n', ' ');
  const apart = Math.max(1, Math.floor(questions.length / SHOWN));
  const rows = questions.flatMap(({ shown }, i) => (prompts.length > 0 || (i % apart === 0 && i / apart < SHOWN) ? [{ prompt: shown, answers: columns.map((answers) => text(answers[i]!)) }] : []));
  const right = columns.map((answers) => answers.filter((ids, i) => isSame(ids, questions[i]!.expected)).length);
  return { names: ['base', ...contenders.map(({ name }) => name)], rows, exact: prompts.length > 0 || checked === 0 ? undefined : { of: questions.length, right } };
}

async function answersOf({ model, tokenizer }: Session, questions: readonly Question[], stack: string | undefined, signal: AbortSignal): Promise<Int32Array[]> {
  const answers: Int32Array[] = [];
  for (const { inputIds } of questions) {
    const maxTokens = Math.min(MAX_TOKENS, model.config.max_position_embeddings - inputIds.length);
    const ids: number[] = [];
    for await (const { id } of generate(model, { inputIds, maxTokens, temperature: 0, stopTokenIds: tokenizer.eosTokenIds, stack, signal })) {
      if (!tokenizer.eosTokenIds.includes(id)) ids.push(id);
    }
    answers.push(Int32Array.from(ids));
  }
  return answers;
}

/** A prompt in the frame that the configs of the quickstart train in. */
function asked(prompt: string, tokenizer: Tokenizer): Question {
  return { inputIds: encodeChat(tokenizer, [{ role: 'user', content: prompt }], { template: 'alpaca' }), shown: prompt };
}

/** Held-out examples, spread evenly: what stands before the first label is the question, the labels are the answer. */
function heldOut({ eval: sequences }: Dataset, tokenizer: Tokenizer, count: number): Question[] {
  const all = sequences.flatMap((sequence) => examplesOf(sequence, tokenizer));
  const apart = Math.max(1, Math.floor(all.length / count));
  return all.filter((_, i) => i % apart === 0).slice(0, count);
}

function examplesOf({ inputIds, labels, offsets }: Packed, tokenizer: Tokenizer): Question[] {
  const ends = new Set(tokenizer.eosTokenIds);
  return Array.from(offsets.subarray(1)).flatMap((end, i): Question[] => {
    const start = offsets[i]!;
    const learned = labels.subarray(start, end).findIndex((label) => label !== IGNORED);
    if (learned < 1) return [];
    const prompt = inputIds.slice(start, start + learned);
    return [{ inputIds: prompt, shown: withoutFrame(tokenizer.decode(prompt)), expected: inputIds.slice(start + learned, end).filter((id) => !ends.has(id)) }];
  });
}

/** The instruction alone, where it stands in the frame of instruction tuning. */
function withoutFrame(text: string): string {
  return (/### Instruction:\n([\s\S]*?)\n*### Response:\s*$/.exec(text)?.[1] ?? text).trim().replaceAll('\n', ' ');
}

function isSame(ids: Int32Array, expected: Int32Array | undefined): boolean {
  return expected !== undefined && ids.length === expected.length && ids.every((id, i) => id === expected[i]);
}
