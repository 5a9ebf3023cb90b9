/** The process of one run, or of one model that is served: carries its order out, and tells the host. */
import type { FromChild, Order, RunEnd, StopReason, ToChild } from '../protocol.ts';
import { reasonOf } from '../../kernel/errors.ts';

const stopping = new AbortController();
const listeners: ((message: ToChild) => void)[] = [];

function tell(message: FromChild): void {
  // The host may be gone: then this process ends, and nobody needs to know.
  if (process.connected) process.send!(message, () => undefined);
}

/** Waits until what was told has left, for `exit` would cut it off. */
async function leave(last: FromChild): Promise<never> {
  await new Promise<void>((resolve) => (process.connected ? process.send!(last, () => resolve()) : resolve()));
  process.exit(0);
}

/** Each kind of work imports what it needs alone. */
async function carriedOut(work: Order): Promise<RunEnd> {
  if (work.type === 'start') return (await import('./work.ts')).carryOut(work.order, stopping.signal, tell);
  return (await import('./serve.ts')).serve(work.order, stopping.signal, { tell, onTold: (listener) => void listeners.push(listener) });
}

process.on('message', (message: ToChild) => {
  if (message.type === 'stop') return stopping.abort(message.reason satisfies StopReason);
  if (message.type !== 'start' && message.type !== 'serve') return listeners.forEach((listener) => listener(message));
  const beat = (): void => tell({ type: 'beat', rssBytes: process.memoryUsage.rss() });
  setInterval(beat, message.order.beatMs).unref();
  beat();
  carriedOut(message).then(
    (end) => leave({ type: 'ended', end }),
    (error: unknown) => leave({ type: 'ended', end: { status: 'failed', reason: reasonOf(error), code: undefined, lasting: false } }),
  );
});
