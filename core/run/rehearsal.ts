/** Whether a run that is under way could go on under another config: all of it but the training, on the side. */
import { isDeepStrictEqual } from 'node:util';
import { differencesOf, type RunConfig } from '../config/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { changeOf, trainablesOf } from './adapters.ts';
import { fingerprintOf } from './fingerprint.ts';
import type { RunRecord } from './run-directory.ts';
import { placed, Session, type RunHost } from './session.ts';

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
 * @returns what a person should know before it is done, a sentence each
 * @throws GraftError `SWAP_NOTHING`; ConfigError and whatever the plugins refuse
 */
export async function rehearse(before: Readonly<Record<string, unknown>>, config: RunConfig, record: RunRecord, host: RunHost): Promise<readonly string[]> {
  assertSwappable(before, config);
  const session = await Session.open(config, host);
  try {
    const { hook, entry } = session.trainer();
    const dataset = await session.preprocess();
    const { grafts } = await session.inject('rehearsal');
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
    return notesOn(changeOf(record.trainables ?? {}, trainablesOf(grafts)));
  } finally {
    await session.dispose();
  }
}

function notesOn({ kept, fresh, gone }: ReturnType<typeof changeOf>): readonly string[] {
  if (fresh === 0 && gone === 0) return [];
  const what = `of what it trains ${kept} tensors go on with what they have learned, ${fresh} begin anew and ${gone} are left behind`;
  return [`The strategy changes: ${what}; the optimizer begins anew. The checkpoint of before stays.`];
}
