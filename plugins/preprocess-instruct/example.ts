import { countDrafts, cutDraft, draftOf, trainedTokens, type ChatTally, type Conversation, type Draft, type Example, type Row, type Template, type Tokenizer } from 'graft';
import type { InstructOptions } from './options.ts';

/** What shapes an example beside its conversation and its template. */
export type ExampleOptions = Pick<InstructOptions, 'train_on' | 'train_end_of_turn' | 'boundary' | 'truncation'> & { readonly max_length: number };

/**
 * Tokenises one conversation, marks what is trained on and cuts it to length.
 * @returns undefined when the example is left out for its length; `tally` counts it
 * @throws RowProblem when the conversation does not go with the template
 */
export function exampleOf(row: Row, conversation: Conversation, template: Template, tokenizer: Tokenizer, options: ExampleOptions, tally: ChatTally): Example | undefined {
  const { train_on, boundary, truncation, max_length } = options;
  const draft = remarked(draftOf(conversation, template, tokenizer, { lastTurnOnly: train_on === 'last_turn', boundary, remedy: 'use train_on: last_turn, or a text template' }), options);
  countDrafts(tally, [draft]);
  const excess = Math.max(0, draft.ids.length - max_length);
  if (excess > 0 && truncation === 'skip') {
    tally.tooLong++;
    return undefined;
  }

  const { example, endCut } = cutDraft(row, draft, { excess, side: truncation === 'left' ? 'left' : 'right' }, tokenizer.bosTokenId);
  const { labels } = example;
  if (trainedTokens({ labels, offsets: Int32Array.of(0, labels.length) }) === 0) {
    tally.nothingLeft++;
    return undefined;
  }
  if (excess > 0) tally.tooLong++;
  if (endCut) tally.endCut++;
  return example;
}

/** With the marks that the options ask for beyond what the assistant says. */
function remarked(draft: Draft, { train_on, train_end_of_turn }: ExampleOptions): Draft {
  const trained = train_on === 'all' ? draft.trained.map(() => true) : [...draft.trained];
  if (!train_end_of_turn) for (const end of draft.ends) trained[end] = false;
  return { ...draft, trained };
}
