/** Whether a run that is under way could go on under another config: all of it but the training, on the side. */
import { isDeepStrictEqual } from 'node:util';
import { differencesOf, type RunConfig } from '../config/index.ts';
import type { Graft } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { graftFolder, trainablesOf } from './adapters.ts';
import { fingerprintOf } from './fingerprint.ts';
import type { RunRecord } from './run-directory.ts';
import { placed, Session, type RunHost } from './session.ts';

const MOST_NAMED = 3;

/**
 * What no checkpoint can go on with shows in the configs alone.
 * @param before what the run is under, as its directory keeps it
 * @throws GraftError `SWAP_BASE`, `SWAP_TRAINER`
 */
export function assertSwappable(before: Readonly<Record<string, unknown>>, { resolved }: Pick<RunConfig, 'resolved'>): void {
  const [base] = differencesOf({ load: before['load'] }, { load: resolved['load'] });
  if (base !== undefined) {
    throw new GraftError('SWAP_BASE', `The run trains on another base model: its ${base.option} is ${JSON.stringify(base.from ?? null)}, and would be ${JSON.stringify(base.to ?? null)}.`, { hint: 'Leave `load:` as it is, or submit a new run.' });
  }
  const [from, to] = [before, resolved].map(({ train }) => (train as { readonly use?: unknown } | undefined)?.use);
  if (from !== to) throw new GraftError('SWAP_TRAINER', `The run's checkpoints are the train plugin ${String(from)}'s, and ${to === undefined ? 'the new config has none' : `${String(to)} can't read them`}.`, { hint: `Keep train: { use: ${String(from)} }, or submit a new run.` });
}

/**
 * Opens everything as the run would: plugins, engine, model, data, grafts and plan.
 * @param record of the run as it is
 * @throws GraftError `SWAP_TRAINABLES`, `SWAP_NOTHING`; ConfigError and whatever the plugins refuse
 */
export async function rehearse(before: Readonly<Record<string, unknown>>, config: RunConfig, record: RunRecord, host: RunHost): Promise<void> {
  assertSwappable(before, config);
  const session = await Session.open(config, host);
  try {
    const { hook, entry } = session.trainer();
    const dataset = await session.preprocess();
    const { grafts } = await session.inject('rehearsal');
    assertTrainables(record.trainables ?? {}, grafts);
    try {
      hook.plan({ config: entry.options, dataset, grafts, model: session.model, seed: config.seed });
    } catch (error) {
      throw placed(config, entry, error);
    }
    const hashes = (generations: Iterable<readonly [string, { readonly hash: string }]>): Readonly<Record<string, string>> => Object.fromEntries([...generations].map(([plugin, { hash }]) => [plugin, hash]));
    const same = differencesOf(before, config.resolved).length === 0 && fingerprintOf(dataset) === record.data?.fingerprint;
    if (same && isDeepStrictEqual(hashes(session.generations), hashes(Object.entries(record.generations)))) {
      throw new GraftError('SWAP_NOTHING', 'There is nothing to swap: the config, the data and the code of its plugins are what the run is under.');
    }
  } finally {
    await session.dispose();
  }
}

/** @throws GraftError `SWAP_TRAINABLES` */
function assertTrainables(before: NonNullable<RunRecord['trainables']>, grafts: readonly Graft[]): void {
  const after = trainablesOf(grafts);
  const refuse = (what: string): never => {
    throw new GraftError('SWAP_TRAINABLES', `The new config trains something else than the run's checkpoints hold: ${what}.`, { hint: 'Options of `inject:` that change neither shapes nor names can be swapped; for others submit a new run.' });
  };
  const [had, has] = [Object.keys(before), grafts.map((graft, index) => graftFolder(index, graft))];
  if (!isDeepStrictEqual(had, has)) refuse(`the grafts are ${has.join(', ') || 'none'}, and were ${had.join(', ') || 'none'}`);
  const changes = has.flatMap((folder) => differencesOfShapes(before[folder]!, after[folder]!));
  if (changes.length > 0) refuse(`${changes.slice(0, MOST_NAMED).join(', ')}${changes.length > MOST_NAMED ? ` and ${changes.length - MOST_NAMED} more` : ''}`);
}

function differencesOfShapes(before: Readonly<Record<string, string>>, after: Readonly<Record<string, string>>): readonly string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((name) => {
    const [from, to] = [before[name], after[name]];
    if (from === to) return [];
    return [from === undefined ? `${name} would be new` : to === undefined ? `${name} would be gone` : `${name} is ${from} and would be ${to}`];
  });
}
