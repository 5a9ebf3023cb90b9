/** What a person may ask of a job, and when. */
import type { Job, Queue } from '../contracts/index.ts';

export type JobAction = 'cancel' | 'pause' | 'resume' | 'retry';

interface ActionEntry {
  /** @returns undefined where the job's state does not allow it */
  readonly act: (queue: Queue, id: string) => Promise<Job | undefined>;
  /** For the person who asked for it where it makes no sense. */
  readonly rule: string;
}

export const JOB_ACTIONS: Readonly<Record<JobAction, ActionEntry>> = {
  cancel: { act: (queue, id) => queue.cancel(id, 'It was cancelled.'), rule: 'only a job that waits, runs or is paused can be cancelled' },
  pause: { act: (queue, id) => queue.pause(id, 'It was paused.'), rule: 'only a job that waits or runs, or that the host paused by itself, can be paused' },
  resume: { act: (queue, id) => queue.resume(id), rule: 'only a job that is paused can be resumed' },
  retry: { act: (queue, id) => queue.retry(id), rule: 'only a job that failed or was cancelled can be tried again' },
};
