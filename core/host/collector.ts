/** Asks for what swapped generations left: by itself the collector comes late to code that is gone, in a process that has memory. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Disposer, Kernel } from '../contracts/index.ts';

/** A collection holds everything else up for some tens of milliseconds. */
const SWAPS = 16;
/** Milliseconds that what used the generation before has to let go of it. */
const SETTLE_MS = 1000;

/** @returns stops it */
export function collectAfterSwaps(kernel: Pick<Kernel, 'on'>): Disposer {
  let swaps = 0;
  let due: NodeJS.Timeout | undefined;
  const unfollow = kernel.on((event) => {
    if (event.type !== 'swapped' || ++swaps % SWAPS !== 0) return;
    due ??= setTimeout(() => {
      due = undefined;
      setFlagsFromString('--expose-gc');
      (runInNewContext('gc') as () => void)();
    }, SETTLE_MS).unref();
  });
  return () => {
    clearTimeout(due);
    return unfollow();
  };
}
