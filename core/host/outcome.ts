/** What becomes of a job when its process has ended. */
import type { Job, Outcome } from '../contracts/index.ts';
import { DISK_FULL } from './full-disk.ts';
import type { StopReason } from './protocol.ts';
import { runPayloadOf } from './run-payload.ts';
import type { ProcessEnd } from './run-process.ts';

/** Milliseconds that a pause between two attempts is at most. */
const LONGEST_RETRY_MS = 600_000;
/** Milliseconds after which a run directory that was still held is tried again: the process before is on its way out. */
const LOCKED_MS = 2000;
/** What was told of the process that ended, beside how. */
export interface Circumstances {
  readonly now: number;
  /** Before the second attempt. */
  readonly retryMs: number;
  /** It was to go on under another config, and training has not: nothing is lost by going back. */
  readonly swapping?: boolean;
}

/**
 * Bad data and bad configs are never tried again; what the network or a full disk kept from going on is; what died goes on from its last checkpoint after a pause that doubles; what ran out of
 * memory is tried once more with half of the tokens in a pass.
 * What does not start under a config that was swapped in goes back to the one before.
 * @param asked what the process had been asked to do
 */
export function outcomeOf(job: Job, end: ProcessEnd, asked: StopReason | undefined, { now, retryMs, swapping = false }: Circumstances): Outcome {
  const again = (reason: string, code: string, options: { readonly inMs?: number; readonly counts?: boolean; readonly payload?: Job['payload'] } = {}): Outcome => ({
    state: 'waiting',
    reason,
    code,
    dueAt: now + (options.inMs ?? Math.min(LONGEST_RETRY_MS, retryMs * 2 ** Math.max(0, job.charged - 1))),
    counts: options.counts,
    payload: options.payload,
  });

  const halved = (reason: string): Outcome => {
    const { halvings } = runPayloadOf(job);
    if (halvings > 0) return { state: 'failed', reason: `${reason} Half of the tokens in a pass did not help.`, code: 'OUT_OF_MEMORY' };
    if (job.charged >= job.max_attempts) return { state: 'failed', reason, code: 'OUT_OF_MEMORY' };
    return again(`${reason} It is tried once more with half of the tokens in a pass.`, 'OUT_OF_MEMORY', { payload: { ...job.payload, halvings: halvings + 1 } });
  };

  const back = (reason: string): Outcome => {
    const note = `Its swap has been undone, for it could not go on so: ${reason}`;
    return again(note, 'SWAP_UNDONE', { inMs: 0, counts: false, payload: { ...runPayloadOf(job).swap!.back, note } });
  };

  if (end.kind === 'told' && end.end.status === 'succeeded') return { state: 'succeeded' };
  if (end.kind === 'told' && end.end.status === 'failed') {
    const { reason, code, lasting } = end.end;
    if (asked === 'cancel') return { state: 'cancelled', reason };
    if (code === 'RUN_LOCKED') return again(reason, code, { inMs: LOCKED_MS, counts: false });
    if (code === DISK_FULL) {
      // Somebody who wants it paused resumes it.
      if (asked === 'pause') return { state: 'paused', reason: `The disk is full: ${reason} Its last checkpoint is kept.` };
      return { state: 'paused', reason: `The disk is full: ${reason} Its last checkpoint is kept, and it goes on from there by itself once there is space.`, code: DISK_FULL };
    }
    if (asked === 'swap') return again(reason, code ?? 'RUN_FAILED', { inMs: 0, counts: false });
    if (swapping) return back(reason);
    if (code === 'OUT_OF_MEMORY') return halved(reason);
    return lasting ? { state: 'failed', reason, code } : again(reason, code ?? 'RUN_FAILED');
  }

  // Stopped, or killed since it did not stop in time: its last checkpoint is as good.
  const reason = end.kind === 'told' ? (end.end as { readonly reason: string }).reason : end.reason;
  if (asked === 'cancel') return { state: 'cancelled', reason };
  if (asked === 'pause') return { state: 'paused', reason };
  if (asked === 'shutdown') return again(reason, 'HOST_ENDED', { inMs: 0, counts: false });
  if (asked === 'swap') return again(reason, 'SWAPPED', { inMs: 0, counts: false });
  if (swapping) return back(reason);

  if (end.kind === 'died' && end.because === 'memory') return halved(end.reason);
  return again(reason, end.kind === 'died' && end.because === 'silence' ? 'RUN_SILENT' : 'RUN_CRASHED');
}
