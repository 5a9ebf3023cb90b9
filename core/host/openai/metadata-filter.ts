/** `metadata[key]=value` of a list: items that carry all of it. `metadata=null`: those that carry none. */
import type { FineTuningRecord } from './fine-tuning-store.ts';

export function withMetadata(query: object): (record: FineTuningRecord) => boolean {
  const wanted = Object.entries(query).flatMap(([name, value]) => {
    const key = /^metadata\[(.+)\]$/.exec(name)?.[1];
    return key === undefined ? [] : [[key, String(value)] as const];
  });
  const none = (query as { readonly metadata?: unknown }).metadata === 'null';
  return ({ request: { metadata } }) => (none ? metadata === null : wanted.every(([key, value]) => metadata !== null && Object.hasOwn(metadata, key) && metadata[key] === value));
}
