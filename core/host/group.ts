/** The runs of a group beside each other. */
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { differingOptions, optionsIn } from '../config/index.ts';
import type { DescribedJob } from './described-job.ts';
import { runPayloadOf } from './run-payload.ts';

export interface Group {
  /** Dotted paths of the options in which the runs differ. */
  readonly options: readonly string[];
  /** The best first: the lowest evaluation loss, then the lowest training loss; last those without. */
  readonly runs: readonly { readonly job: DescribedJob; readonly options: Readonly<Record<string, unknown>> }[];
}

/** @param jobs newest first */
export async function compareGroup(jobs: readonly DescribedJob[]): Promise<Group> {
  // In the order in which they were queued, where nothing else tells them apart.
  const runs = await Promise.all(jobs.toReversed().map(async (job) => ({ job, config: await configOf(job) })));
  const options = differingOptions(runs.flatMap(({ config }) => (config === undefined ? [] : [config])));
  const valuesOf = (config: Readonly<Record<string, unknown>> | undefined): Readonly<Record<string, unknown>> => {
    const all = optionsIn(config ?? {});
    return Object.fromEntries(options.flatMap((option) => (all.has(option) ? [[option, all.get(option)]] : [])));
  };
  return { options, runs: runs.sort((a, b) => byLoss(a.job, b.job)).map(({ job, config }) => ({ job, options: valuesOf(config) })) };
}

function byLoss({ standing: a }: DescribedJob, { standing: b }: DescribedJob): number {
  const lower = (x = Infinity, y = Infinity): number => (x === y ? 0 : x - y);
  return lower(a?.evalLoss, b?.evalLoss) || lower(a?.loss, b?.loss);
}

/** Undefined where it is gone. */
async function configOf(job: DescribedJob): Promise<Readonly<Record<string, unknown>> | undefined> {
  const text = await readFile(runPayloadOf(job).configFile, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (parse(text) as Readonly<Record<string, unknown>>);
}
