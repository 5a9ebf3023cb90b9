import type { ExampleOptions, ExampleTally } from './example.ts';

/** Says in sentences what happened to examples: nothing is cut or left out in silence. */
export function tallyNotes(tally: ExampleTally, { max_length, truncation }: ExampleOptions): readonly string[] {
  const notes: string[] = [];
  const of = (count: number): string => `${count} of ${tally.examples} examples`;
  if (tally.tooLong > 0) {
    const done = truncation === 'skip' ? 'left out' : truncation === 'left' ? 'cut at their beginning' : 'cut at their end';
    const lost = tally.endCut === 0 ? '' : ` ${tally.endCut === tally.tooLong ? 'They' : `${tally.endCut} of them`} lost the token that ends the answer, and teach nothing about stopping.`;
    notes.push(`${of(tally.tooLong)} are longer than max_length ${max_length} and were ${done}; the longest has ${tally.longest} tokens.${lost}`);
  }
  if (tally.nothingLeft > 0) notes.push(`${of(tally.nothingLeft)} were left out: nothing to train on is left of them within max_length ${max_length}. Raise it, or set truncation: left.`);
  if (tally.boundaryCuts > 0) notes.push(`At ${tally.boundaryCuts} boundaries between what is given and what is learned a token would have lain across; the text is tokenised apart there.`);
  if (tally.endAppended > 0) notes.push(`The chat template ends the last turn of ${of(tally.endAppended)} with none of the model's end tokens; one was appended, so that the model learns to stop.`);
  if (tally.promptDiffers > 0) notes.push(`In ${of(tally.promptDiffers)} the chat template writes something else before an answer than it does for a server (such as the beginning of a thought); what is trained on begins with the answer's own text.`);
  if (tally.endInside > 0) notes.push(`In ${of(tally.endInside)} an answer has the text of an end token within it; the model learns to stop there. Take it out of the data, unless that is meant.`);
  return notes;
}
