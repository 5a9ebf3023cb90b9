/** Lists as OpenAI's clients page through them: by the id of the last item seen. */
import { invalid } from './api-error.ts';

export interface PageQuery {
  readonly after?: string;
  readonly limit?: string;
}

export interface Page<T> {
  readonly object: 'list';
  readonly data: readonly T[];
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly has_more: boolean;
}

/** @throws ApiError 400 for a limit that is none */
export function limitOf({ limit }: PageQuery, usual: number, most: number): number {
  if (limit === undefined) return usual;
  const count = Number(limit);
  if (!Number.isInteger(count) || count < 1 || count > most) throw invalid(`'limit' must be a whole number from 1 to ${most}.`, 'limit', 'invalid_value');
  return count;
}

/**
 * The items behind `after`, of all in the order in which they are to be listed.
 * @throws ApiError 400 where no item has that id
 */
export function pageOf<T extends { readonly id: string }>(all: readonly T[], query: PageQuery, usual: number, most: number): Page<T> {
  const limit = limitOf(query, usual, most);
  const seen = query.after === undefined ? -1 : all.findIndex(({ id }) => id === query.after);
  if (query.after !== undefined && seen === -1) throw invalid(`There is no item with the id '${query.after}'.`, 'after', 'invalid_value');
  return page(all.slice(seen + 1, seen + 1 + limit), all.length > seen + 1 + limit);
}

export function page<T extends { readonly id: string }>(data: readonly T[], has_more: boolean): Page<T> {
  return { object: 'list', data, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null, has_more };
}
