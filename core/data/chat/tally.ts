import type { Draft } from './draft.ts';

/** What is worth telling of all examples together, or of all pairs, each of which counts once. */
export interface ChatTally {
  examples: number;
  /** Cut to `max_length`, or left out by `truncation: skip`; a pair: one of its halves is longer. */
  tooLong: number;
  longest: number;
  /** Cut, and the end of the last turn with it. */
  endCut: number;
  /** Left out because cutting left nothing to train on; counted neither as cut nor as too long. */
  nothingLeft: number;
  /** Where a token would have lain across a boundary. */
  boundaryCuts: number;
  /** The chat template ends a turn with no end token. */
  endAppended: number;
  /** What stands before an answer differs from what a server will send. */
  promptDiffers: number;
  /** An answer to be trained on has an end token in its own text. */
  endInside: number;
}

export function newTally(): ChatTally {
  return { examples: 0, tooLong: 0, longest: 0, endCut: 0, nothingLeft: 0, boundaryCuts: 0, endAppended: 0, promptDiffers: 0, endInside: 0 };
}

/** Counts an example by its draft, or a pair by its two; what becomes of it for its length is for the caller to count. */
export function countDrafts(tally: ChatTally, drafts: readonly Draft[]): void {
  const longest = Math.max(...drafts.map((draft) => draft.ids.length));
  tally.examples++;
  tally.longest = Math.max(tally.longest, longest);
  for (const draft of drafts) tally.boundaryCuts += draft.boundaryCuts;
  for (const mark of ['endAppended', 'promptDiffers', 'endInside'] as const) if (drafts.some((draft) => draft[mark])) tally[mark]++;
}

/** What a tally is told in. */
export interface TallyWords {
  readonly max_length: number;
  readonly truncation: 'right' | 'left' | 'skip';
  /** What was counted. */
  readonly unit: 'examples' | 'pairs';
}

/** Says in sentences what happened to examples or pairs: nothing is cut or left out in silence. */
export function tallyNotes(tally: ChatTally, { max_length, truncation, unit }: TallyWords): readonly string[] {
  const notes: string[] = [];
  const of = (count: number): string => `${count} of ${tally.examples} ${unit}`;
  const pairs = unit === 'pairs';
  if (tally.tooLong > 0) {
    const done = truncation === 'skip' ? 'left out' : truncation === 'left' ? 'cut at their beginning' : 'cut at their end';
    const who = tally.endCut === tally.tooLong ? 'They' : `${tally.endCut} of them`;
    const lost = tally.endCut === 0 ? '' : pairs ? ` ${who} lost the token that ends an answer.` : ` ${who} lost the token that ends the answer, and teach nothing about stopping.`;
    notes.push(`${of(tally.tooLong)} ${pairs ? 'have a half that is' : 'are'} longer than max_length ${max_length} and were ${done}; the longest has ${tally.longest} tokens.${lost}`);
  }
  if (tally.nothingLeft > 0) {
    const why = pairs ? `within max_length ${max_length} nothing to train on is left of a half of theirs, or nothing in which the halves differ` : `nothing to train on is left of them within max_length ${max_length}`;
    notes.push(`${of(tally.nothingLeft)} were left out: ${why}. Raise it${pairs && truncation === 'left' ? '.' : ', or set truncation: left.'}`);
  }
  if (tally.boundaryCuts > 0) notes.push(`At ${tally.boundaryCuts} boundaries between what is given and what is learned a token would have lain across; the text is tokenised apart there.`);
  if (tally.endAppended > 0) notes.push(`The chat template ends the last turn of ${of(tally.endAppended)} with none of the model's end tokens; one was appended, so that the model learns to stop.`);
  if (tally.promptDiffers > 0) notes.push(`In ${of(tally.promptDiffers)} the chat template writes something else before an answer than it does for a server (such as the beginning of a thought); what is trained on begins with the answer's own text.`);
  if (tally.endInside > 0) notes.push(`In ${of(tally.endInside)} an answer has the text of an end token within it; the model learns to stop there. Take it out of the data, unless that is meant.`);
  return notes;
}
