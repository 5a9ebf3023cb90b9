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
  /** Where the config was submitted from: what `graft swap` reads again. */
  readonly source?: ConfigSource;
  /** Of what the config said, of a job that was queued by itself. */
  readonly digest?: string;
  /** The config is to take the place of another, from the newest checkpoint on. */
  readonly swap?: PendingSwap;
  /** Something that a person should know, though the job goes on. */
  readonly note?: string;
}

/** A config file as a person named it, every path absolute. */
export interface ConfigSource {
  readonly config: string;
  readonly set?: readonly string[];
  readonly cwd?: string;
}

export interface PendingSwap {
  /** What the run directory knows it by once it has been made. */
  readonly id: string;
  /** What the job goes back to where the run can't go on under the new config. */
  readonly back: RunPayload;
}

export function runPayloadOf({ payload }: Pick<Job, 'payload'>): RunPayload {
  return payload as unknown as RunPayload;
}
