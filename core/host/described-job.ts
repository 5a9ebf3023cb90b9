import type { Job } from '../contracts/index.ts';
import type { Standing } from './run-store.ts';

/** A job with what the host knows of its run. */
export interface DescribedJob extends Job {
  /** What keeps a waiting job from running, a sentence. */
  readonly waitsFor?: string;
  readonly dir?: string;
  readonly standing?: Standing;
  /** Something that a person should know of it, a sentence. */
  readonly note?: string;
}
