import type { Tokenizer } from '../../contracts/index.ts';
import { RowProblem } from '../row.ts';
import { endTokenOf } from '../text.ts';
import { renderChat } from './chat-spans.ts';
import type { Conversation } from './conversation.ts';
import { encodeJoint, encodeStart } from './encode.ts';
import type { Template } from './templates.ts';
import type { TextTemplate } from './text-template.ts';

/** How a conversation is tokenised, beside its template. */
export interface DraftOptions {
  /** Whether only the last turn of the assistant is trained on, instead of each one that the conversation does not keep from it. */
  readonly lastTurnOnly: boolean;
  /** `auto`: joint for chat templates, else split. */
  readonly boundary: 'auto' | 'split' | 'joint';
  /** What can be done about a chat template in whose text turns cannot be found, for the message. */
  readonly remedy: string;
}

/** A tokenised conversation before it is cut to length. */
export interface Draft {
  /** `[T]` */
  readonly ids: readonly number[];
  /** `[T]`, whether a token carries a loss. */
  readonly trained: readonly boolean[];
  /** Where the tokens are that end trained turns. */
  readonly ends: readonly number[];
  /** Boundaries across which a token would have lain. */
  readonly boundaryCuts: number;
  /** Whether an answer to be trained on contains an end token before its end. */
  readonly endInside: boolean;
  /** Whether the chat template ends the last turn with no end token, so that one was appended. */
  readonly endAppended: boolean;
  /** Whether what stands before an answer differs from what a server will send. */
  readonly promptDiffers: boolean;
}

type Building = { -readonly [Key in keyof Draft]: Draft[Key] extends readonly (infer Item)[] ? Item[] : Draft[Key] };

/**
 * Tokenises a conversation and marks what is trained on.
 *
 * A text template's prompt is tokenised with what the tokenizer adds at the beginning (BOS), the completion with nothing,
 * and the end token follows as a token. The text of a chat template is tokenised as it is rendered.
 * @throws RowProblem when the conversation does not go with the template
 */
export function draftOf(conversation: Conversation, template: Template, tokenizer: Tokenizer, options: DraftOptions): Draft {
  return template === 'chat' ? chatDraft(conversation, tokenizer, options) : textDraft(conversation, template, tokenizer, options);
}

function textDraft(conversation: Conversation, template: TextTemplate, tokenizer: Tokenizer, { lastTurnOnly, boundary }: DraftOptions): Draft {
  const draft = emptyDraft();
  const exchanges = template.render(conversation);
  const end = endTokenOf(tokenizer);
  for (const [index, { prompt, completion, trained }] of exchanges.entries()) {
    const first = index === 0;
    let [promptIds, completionIds]: readonly Int32Array[] = [];
    if (boundary === 'joint') {
      const encoded = encodeJoint(tokenizer, [prompt, completion], first);
      [promptIds, completionIds] = encoded.pieces;
      draft.boundaryCuts += encoded.cuts;
    } else {
      promptIds = first ? encodeStart(tokenizer, prompt) : tokenizer.encode(prompt, { addSpecialTokens: false });
      completionIds = tokenizer.encode(completion, { addSpecialTokens: false });
    }
    const learned = trained && (!lastTurnOnly || index === exchanges.length - 1);
    append(draft, promptIds!, false);
    append(draft, completionIds!, learned);
    draft.endInside ||= learned && hasEnd(completionIds!, tokenizer);
    if (end === undefined) continue;
    if (learned) draft.ends.push(draft.ids.length);
    append(draft, [end], learned);
  }
  return draft;
}

function chatDraft(conversation: Conversation, tokenizer: Tokenizer, { lastTurnOnly, boundary, remedy }: DraftOptions): Draft {
  const last = conversation.turns.findLastIndex((turn) => turn.role === 'assistant');
  const which = (index: number): boolean => conversation.turns[index]!.trained && (!lastTurnOnly || index === last);
  const { spans, promptDiffers } = renderChat(conversation, which, tokenizer, remedy);
  if (!spans.some((span) => span.trained)) throw new RowProblem('the chat template leaves out what the assistant says in the turns to be trained on');
  const texts = spans.map((span) => span.text);
  // The template writes BOS itself, as for a server.
  const encoded = boundary === 'split' ? { pieces: texts.map((text) => tokenizer.encode(text, { addSpecialTokens: false })), cuts: 0 } : encodeJoint(tokenizer, texts, false);
  const draft: Building = { ...emptyDraft(), promptDiffers, boundaryCuts: encoded.cuts };
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
    draft.endAppended = true;
    draft.ends.push(draft.ids.length);
    append(draft, [token], true);
  }
  return draft;
}

function emptyDraft(): Building {
  return { ids: [], trained: [], ends: [], boundaryCuts: 0, endInside: false, endAppended: false, promptDiffers: false };
}

function append(draft: Building, ids: ArrayLike<number>, trained: boolean): void {
  for (let i = 0; i < ids.length; i++) {
    draft.ids.push(ids[i]!);
    draft.trained.push(trained);
  }
}

function hasEnd(ids: Int32Array, tokenizer: Tokenizer): boolean {
  return ids.some((id) => tokenizer.eosTokenIds.includes(id));
}
