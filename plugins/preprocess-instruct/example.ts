import { endTokenOf, IGNORED, RowProblem, type Example, type Row, type Tokenizer } from 'graft';
import { renderChat } from './chat-spans.ts';
import type { Conversation } from './conversation.ts';
import { encodeJoint, encodeStart } from './encode.ts';
import type { InstructOptions } from './options.ts';
import type { Template } from './templates.ts';
import type { TextTemplate } from './text-template.ts';

/** What shapes an example beside its conversation and its template. */
export type ExampleOptions = Pick<InstructOptions, 'train_on' | 'train_end_of_turn' | 'boundary' | 'truncation'> & { readonly max_length: number };

/** What is worth telling of all examples together. */
export interface ExampleTally {
  examples: number;
  /** Longer than `max_length`, whether cut or left out. */
  tooLong: number;
  longest: number;
  /** Cut, and the end of the last turn with it. */
  endCut: number;
  /** Left out because cutting left nothing to train on. */
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

export function newTally(): ExampleTally {
  return { examples: 0, tooLong: 0, longest: 0, endCut: 0, nothingLeft: 0, boundaryCuts: 0, endAppended: 0, promptDiffers: 0, endInside: 0 };
}

/** An example before it is cut to length. */
interface Draft {
  readonly ids: number[];
  /** One per token: whether it carries a loss. */
  readonly trained: boolean[];
  /** Where the tokens are that end trained turns. */
  readonly ends: number[];
  /** Whether an answer to be trained on contains an end token before its end. */
  endInside: boolean;
}

/**
 * Tokenises one conversation and marks what is trained on.
 *
 * A text template's prompt is tokenised with what the tokenizer adds at the beginning (BOS), the completion with nothing,
 * and the end token follows as a token. The text of a chat template is tokenised as it is rendered.
 * @returns undefined when the example is left out for its length; `tally` counts it
 * @throws RowProblem when the conversation does not go with the template
 */
export function exampleOf(row: Row, conversation: Conversation, template: Template, tokenizer: Tokenizer, options: ExampleOptions, tally: ExampleTally): Example | undefined {
  const draft = template === 'chat' ? chatDraft(conversation, tokenizer, options, tally) : textDraft(conversation, template, tokenizer, options, tally);
  if (options.train_on === 'all') draft.trained.fill(true);
  const lastEnd = draft.ends.at(-1);
  if (draft.endInside) tally.endInside++;
  if (!options.train_end_of_turn) for (const end of draft.ends) draft.trained[end] = false;
  const fullLength = draft.ids.length;
  tally.examples++;
  tally.longest = Math.max(tally.longest, fullLength);
  const excess = Math.max(0, fullLength - options.max_length);
  if (excess > 0) tally.tooLong++;
  if (excess > 0 && options.truncation === 'skip') return undefined;

  const keep = keptRanges(draft, excess, options.truncation, tokenizer);
  const inputIds = Int32Array.from(keep.flatMap(([from, to]) => draft.ids.slice(from, to)));
  const labels = Int32Array.from(keep.flatMap(([from, to]) => draft.ids.slice(from, to).map((id, i) => (draft.trained[from + i] === true ? id : IGNORED))));
  const endKept = lastEnd !== undefined && keep.some(([from, to]) => lastEnd >= from && lastEnd < to);
  if (excess > 0 && lastEnd !== undefined && !endKept) tally.endCut++;
  if (!labels.subarray(1).some((label) => label !== IGNORED)) {
    tally.nothingLeft++;
    return undefined;
  }
  return { inputIds, labels, info: { file: row.file, line: row.line, fullLength, truncated: excess, endOfTurnTrained: endKept && options.train_end_of_turn } };
}

/** Which tokens stay, as ranges. BOS stays when the beginning is cut off: models read worse without it. */
function keptRanges(draft: Draft, excess: number, truncation: ExampleOptions['truncation'], tokenizer: Tokenizer): readonly (readonly [number, number])[] {
  const { length } = draft.ids;
  if (excess === 0 || truncation !== 'left') return [[0, length - excess]];
  return draft.ids[0] === tokenizer.bosTokenId ? [[0, 1], [excess + 1, length]] : [[excess, length]];
}

function textDraft(conversation: Conversation, template: TextTemplate, tokenizer: Tokenizer, { train_on, boundary }: ExampleOptions, tally: ExampleTally): Draft {
  const draft: Draft = { ids: [], trained: [], ends: [], endInside: false };
  const exchanges = template.render(conversation);
  const end = endTokenOf(tokenizer);
  for (const [index, { prompt, completion, trained }] of exchanges.entries()) {
    const first = index === 0;
    let [promptIds, completionIds]: readonly Int32Array[] = [];
    if (boundary === 'joint') {
      const encoded = encodeJoint(tokenizer, [prompt, completion], first);
      [promptIds, completionIds] = encoded.pieces;
      tally.boundaryCuts += encoded.cuts;
    } else {
      promptIds = first ? encodeStart(tokenizer, prompt) : tokenizer.encode(prompt, { addSpecialTokens: false });
      completionIds = tokenizer.encode(completion, { addSpecialTokens: false });
    }
    const learned = trained && (train_on !== 'last_turn' || index === exchanges.length - 1);
    append(draft, promptIds!, false);
    append(draft, completionIds!, learned);
    draft.endInside ||= learned && hasEnd(completionIds!, tokenizer);
    if (end === undefined) continue;
    if (learned) draft.ends.push(draft.ids.length);
    append(draft, [end], learned);
  }
  return draft;
}

function chatDraft(conversation: Conversation, tokenizer: Tokenizer, { train_on, boundary }: ExampleOptions, tally: ExampleTally): Draft {
  const last = conversation.turns.findLastIndex((turn) => turn.role === 'assistant');
  const which = (index: number): boolean => conversation.turns[index]!.trained && (train_on !== 'last_turn' || index === last);
  const { spans, promptDiffers } = renderChat(conversation, which, tokenizer);
  if (!spans.some((span) => span.trained)) throw new RowProblem('the chat template leaves out what the assistant says in the turns to be trained on');
  if (promptDiffers) tally.promptDiffers++;
  const texts = spans.map((span) => span.text);
  // The template writes BOS itself, as for a server.
  const encoded = boundary === 'split' ? { pieces: texts.map((text) => tokenizer.encode(text, { addSpecialTokens: false })), cuts: 0 } : encodeJoint(tokenizer, texts, false);
  tally.boundaryCuts += encoded.cuts;
  const draft: Draft = { ids: [], trained: [], ends: [], endInside: false };
  const lastTrained = spans.findLastIndex((span) => span.trained);
  for (const [index, ids] of encoded.pieces.entries()) {
    const learned = spans[index]!.trained;
    const end = learned ? ids.findLastIndex((id) => tokenizer.eosTokenIds.includes(id)) : -1;
    if (end !== -1) {
      // A server stops at the end token: what the template writes after it is never generated.
      append(draft, ids.subarray(0, end + 1), true);
      draft.endInside ||= hasEnd(ids.subarray(0, end), tokenizer);
      draft.ends.push(draft.ids.length - 1);
      append(draft, ids.subarray(end + 1), false);
      continue;
    }
    append(draft, ids, learned);
    const token = endTokenOf(tokenizer);
    if (index !== lastTrained || index !== encoded.pieces.length - 1 || token === undefined) continue;
    tally.endAppended++;
    draft.ends.push(draft.ids.length);
    append(draft, [token], true);
  }
  return draft;
}

function append(draft: Draft, ids: ArrayLike<number>, trained: boolean): void {
  for (let i = 0; i < ids.length; i++) {
    draft.ids.push(ids[i]!);
    draft.trained.push(trained);
  }
}

function hasEnd(ids: Int32Array, tokenizer: Tokenizer): boolean {
  return ids.some((id) => tokenizer.eosTokenIds.includes(id));
}
