import type { Dataset, ExampleInfo, Packed, Tokenizer } from '../../contracts/index.ts';
import { IGNORED } from '../../tensor/packed.ts';

/** One token as it is shown. */
export interface ShownToken {
  readonly id: number;
  /** What it adds to the text; the tokenizer's own piece where that is no whole character. */
  readonly text: string;
  /** Whether the model is trained to predict it. */
  readonly trained: boolean;
}

/** One example of a dataset, token by token. */
export interface ShownExample {
  readonly info: ExampleInfo | undefined;
  /** Which completion of a pair this half has; undefined where examples are no pairs. */
  readonly half?: 'chosen' | 'rejected';
  readonly tokens: readonly ShownToken[];
}

/** In the order in which a pair has them. */
const HALVES = ['chosen', 'rejected'] as const;

/** The first `count` examples or pairs of a side of a dataset, in the order in which they are packed. */
export function firstExamples(dataset: Dataset, side: 'train' | 'eval', count: number, tokenizer: Tokenizer): readonly ShownExample[] {
  const infos = side === 'train' ? dataset.info : dataset.evalInfo;
  const examples: ShownExample[] = [];
  const most = dataset.preferences === true ? 2 * count : count;
  for (const packed of dataset[side]) {
    for (let segment = 0; segment + 1 < packed.offsets.length; segment++) {
      if (examples.length === most) return examples;
      const half = dataset.preferences === true ? HALVES[segment] : undefined;
      examples.push({ info: infos?.[examples.length], half, tokens: tokensOf(packed, packed.offsets[segment]!, packed.offsets[segment + 1]!, tokenizer) });
    }
  }
  return examples;
}

/** Tokens of every example of a side. */
export function exampleLengths(sequences: readonly Packed[]): readonly number[] {
  return sequences.flatMap(({ offsets }) => Array.from(offsets.subarray(1), (end, segment) => end - offsets[segment]!));
}

function tokensOf({ inputIds, labels }: Packed, start: number, end: number, tokenizer: Tokenizer): readonly ShownToken[] {
  return Array.from(inputIds.subarray(start, end), (id, i): ShownToken => ({
    id,
    text: textOf(tokenizer, i === 0 ? undefined : inputIds[start + i - 1]!, id),
    trained: i > 0 && labels[start + i] !== IGNORED,
  }));
}

/** What a token adds after the one before it: alone, many tokenizers drop the space that a word begins with. */
function textOf(tokenizer: Tokenizer, before: number | undefined, id: number): string {
  const decode = (ids: readonly number[]): string => tokenizer.decode(ids, { skipSpecialTokens: false });
  const lead = before === undefined ? '' : decode([before]);
  const both = before === undefined ? decode([id]) : decode([before, id]);
  const text = both.startsWith(lead) ? both.slice(lead.length) : decode([id]);
  return text === '' || text.includes('\ufffd') ? tokenizer.token(id) : text;
}
