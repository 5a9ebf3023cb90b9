import type { RunConfig } from '../config/index.ts';

/** What the host needs to know of a config that is right: plain data, so that another process can tell it. */
export interface CheckedConfig {
  readonly name: string;
  /** As it can be written down and resolves to the same again. */
  readonly resolved: Readonly<Record<string, unknown>>;
  readonly runsDir: string;
  /** Undefined where the config leaves it open. */
  readonly threads: number | undefined;
  /** Whether it has a `train:`. */
  readonly trains: boolean;
}

export function checkedConfig({ name, resolved, runsDir, engine, train }: RunConfig): CheckedConfig {
  return { name, resolved, runsDir, threads: engine.threads === 'auto' ? undefined : engine.threads, trains: train !== undefined };
}
