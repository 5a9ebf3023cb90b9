import { IGNORED } from '../../tensor/packed.ts';
import type { Example } from '../example.ts';
import type { Row } from '../row.ts';
import type { Draft } from './draft.ts';

/** How much is cut off an example, and where. */
export interface Cut {
  /** Tokens; 0: nothing. */
  readonly excess: number;
  /** `left`: at the beginning, after BOS, without which models read worse. */
  readonly side: 'right' | 'left';
}

/** What is left of a draft. */
export interface CutDraft {
  /** Has no token at all where all were cut off. */
  readonly example: Example;
  /** Whether the token that ends the last trained turn was cut off. */
  readonly endCut: boolean;
}

/** Cuts a draft and gives its tokens their labels. */
export function cutDraft(row: Row, draft: Draft, { excess, side }: Cut, bosTokenId: number | undefined): CutDraft {
  const fullLength = draft.ids.length;
  const keep = keptRanges(draft, excess, side, bosTokenId);
  const inputIds = Int32Array.from(keep.flatMap(([from, to]) => draft.ids.slice(from, to)));
  const labels = Int32Array.from(keep.flatMap(([from, to]) => draft.ids.slice(from, to).map((id, i) => (draft.trained[from + i] === true ? id : IGNORED))));
  const lastEnd = draft.ends.at(-1);
  const endKept = lastEnd !== undefined && keep.some(([from, to]) => lastEnd >= from && lastEnd < to);
  return {
    example: { inputIds, labels, info: { file: row.file, line: row.line, fullLength, truncated: Math.min(excess, fullLength), endOfTurnTrained: endKept && draft.trained[lastEnd] === true } },
    endCut: lastEnd !== undefined && !endKept,
  };
}

/** Which tokens stay, as ranges. */
function keptRanges({ ids }: Draft, excess: number, side: Cut['side'], bosTokenId: number | undefined): readonly (readonly [number, number])[] {
  const { length } = ids;
  if (excess === 0 || side === 'right') return [[0, Math.max(0, length - excess)]];
  return ids[0] === bosTokenId ? [[0, 1], [excess + 1, length]] : [[excess, length]];
}
