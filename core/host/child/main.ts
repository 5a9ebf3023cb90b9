/** The process of one run: carries it out or goes on with it, and tells the host. */
import type { FromChild, StopReason, ToChild } from '../protocol.ts';
import { reasonOf } from '../../kernel/errors.ts';
import { carryOut } from './work.ts';

const stopping = new AbortController();

function tell(message: FromChild): void {
  // The host may be gone: then this process ends, and nobody needs to know.
  if (process.connected) process.send!(message, () => undefined);
}

/** Waits until what was told has left, for `exit` would cut it off. */
async function leave(last: FromChild): Promise<never> {
  await new Promise<void>((resolve) => (process.connected ? process.send!(last, () => resolve()) : resolve()));
  process.exit(0);
}

process.on('message', (message: ToChild) => {
  if (message.type === 'stop') return stopping.abort(message.reason satisfies StopReason);
  const beat = (): void => tell({ type: 'beat', rssBytes: process.memoryUsage.rss() });
  setInterval(beat, message.order.beatMs).unref();
  beat();
  carryOut(message.order, stopping.signal, tell).then(
    (end) => leave({ type: 'ended', end }),
    (error: unknown) => leave({ type: 'ended', end: { status: 'failed', reason: reasonOf(error), code: undefined, lasting: false } }),
  );
});
