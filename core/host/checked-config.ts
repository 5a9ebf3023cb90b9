import { createHash } from 'node:crypto';
import { plainOf, type RunConfig } from '../config/index.ts';

/** What the host needs to know of a config that is right: plain data, so that another process can tell it. */
export interface CheckedConfig {
  readonly name: string;
  /** The name without what tells the combinations of a sweep apart. */
  readonly experiment: string;
  /** As it can be written down and resolves to the same again. */
  readonly resolved: Readonly<Record<string, unknown>>;
  readonly runsDir: string;
  /** Undefined where the config leaves it open. */
  readonly threads: number | undefined;
  /** Whether it has a `train:`. */
  readonly trains: boolean;
  readonly queuesOnChange: boolean;
  /** Of what the config says, whatever its layout, without the defaults of plugins: those of a newer version make no other experiment of it. */
  readonly digest: string;
}

export function checkedConfig({ name, experiment, resolved, runsDir, engine, train, queuesOnChange, baseDir, source }: RunConfig): CheckedConfig {
  const { queue: _queue, ...content } = plainOf(source) as Readonly<Record<string, unknown>>;
  const digest = digestOf([name, baseDir, content]);
  return { name, experiment, resolved, runsDir, threads: engine.threads === 'auto' ? undefined : engine.threads, trains: train !== undefined, queuesOnChange, digest };
}

/** sha256 of plain data, the order of keys aside. */
export function digestOf(value: unknown): string {
  const ordered = (_key: string, each: unknown): unknown => (typeof each === 'object' && each !== null && !Array.isArray(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each);
  return createHash('sha256').update(JSON.stringify(value, ordered)).digest('hex');
}
