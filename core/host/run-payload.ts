import type { Job } from '../contracts/index.ts';

/** What the queue keeps of a run for whoever carries it out. */
export interface RunPayload {
  /** Name of the run directory. */
  readonly runId: string;
  /** The config as it was submitted. */
  readonly configFile: string;
  /** How often the tokens of a pass were halved after running out of memory. */
  readonly halvings: number;
  /** The model that it trains, as its config names it: an absolute path, or a Hub id. */
  readonly base?: string;
  /** Of the name under which its result is served; left out: the run's name. */
  readonly suffix?: string;
}

export function runPayloadOf({ payload }: Pick<Job, 'payload'>): RunPayload {
  return payload as unknown as RunPayload;
}
