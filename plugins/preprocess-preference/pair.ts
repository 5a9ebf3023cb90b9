import { countDrafts, cutDraft, draftOf, RowProblem, trainedTokens, type ChatTally, type Draft, type Example, type Row, type Template, type Tokenizer, type Turn } from 'graft';
import type { PreferenceOptions } from './options.ts';
import type { Preference } from './preference.ts';

/** What shapes a pair beside its turns and its template. */
export type PairOptions = Pick<PreferenceOptions, 'boundary' | 'truncation'> & { readonly max_length: number };

/** Against chat templates that write turns in another way, depending on what follows. */
const REMEDY = 'use a text template';

/**
 * Tokenises the prompt with either completion, labels the completions and cuts both to length.
 * @returns the preferred half and then the other, or none where the pair is left out for its length; `tally` counts it
 * @throws RowProblem when the turns do not go with the template, or do not come to two completions of one prompt
 */
export function pairOf(row: Row, preference: Preference, template: Template, tokenizer: Tokenizer, options: PairOptions, tally: ChatTally): readonly Example[] {
  const { boundary, truncation, max_length } = options;
  const { plain, chosen, rejected } = preference;
  const prompt = preference.prompt.map((turn): Turn => ({ ...turn, trained: false }));
  const drafts = [chosen, rejected].map((turns) => draftOf({ plain, turns: [...prompt, ...turns] }, template, tokenizer, { lastTurnOnly: false, boundary, remedy: REMEDY }));
  assertOnePrompt(drafts[0]!, drafts[1]!);
  countDrafts(tally, drafts);

  const excesses = drafts.map(({ ids }) => Math.max(0, ids.length - max_length));
  const most = Math.max(...excesses);
  if (most > 0 && truncation === 'skip') {
    tally.tooLong++;
    return [];
  }
  const left = truncation === 'left';
  // From the left, the same from both: the halves of a pair are compared as answers to one prompt.
  const halves = drafts.map((draft, half) => cutDraft(row, draft, { excess: left ? most : excesses[half]!, side: left ? 'left' : 'right' }, tokenizer.bosTokenId));
  const examples = halves.map(({ example }) => example);
  if (!examples.every(isTrainedOn) || sameIds(examples[0]!.inputIds, examples[1]!.inputIds)) {
    tally.nothingLeft++;
    return [];
  }
  if (most > 0) tally.tooLong++;
  if (halves.some(({ endCut }) => endCut)) tally.endCut++;
  return examples;
}

/** A template may drop the very text in which the completions differ, or write the end of the prompt by what follows it. */
function assertOnePrompt(chosen: Draft, rejected: Draft): void {
  if (sameIds(chosen.ids, rejected.ids)) throw new RowProblem('the two completions come to the same tokens, which teaches nothing');
  const promptOf = ({ ids, trained }: Draft): readonly number[] => ids.slice(0, trained.indexOf(true));
  if (!sameIds(promptOf(chosen), promptOf(rejected))) throw new RowProblem(`the chat template writes the prompt differently before the two completions, so they cannot be compared; ${REMEDY}`);
}

function sameIds(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  return a.length === b.length && Array.prototype.every.call(a, (id, index) => id === b[index]);
}

function isTrainedOn({ labels }: Example): boolean {
  return trainedTokens({ labels, offsets: Int32Array.of(0, labels.length) }) > 0;
}
