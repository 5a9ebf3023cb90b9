import { createHash } from 'node:crypto';
import type { Dataset, Packed } from '../contracts/index.ts';

/** sha256 of every token, label and boundary, hex: equal when a resumed run sees the data that it began with. */
export function fingerprintOf(dataset: Pick<Dataset, 'train' | 'eval'>): string {
  const hash = createHash('sha256');
  for (const part of [dataset.train, dataset.eval]) {
    hash.update(`${part.length}:`);
    for (const sequence of part) add(hash, sequence);
  }
  return hash.digest('hex');
}

function add(hash: ReturnType<typeof createHash>, { inputIds, labels, offsets }: Packed): void {
  for (const array of [inputIds, labels, offsets]) hash.update(`${array.length},`).update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
}
