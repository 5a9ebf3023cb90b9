import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../contracts/index.ts';
import { readPluginDirs, resolveConfigs, type RunConfig } from '../../config/index.ts';
import { GraftError, reasonOf } from '../../kernel/errors.ts';
import { runExperiment } from '../../run/experiment.ts';
import { readRunRecord } from '../../run/run-directory.ts';
import { settleConfig } from '../../run/spans.ts';
import { DISK_FULL, lacksSpace } from '../full-disk.ts';
import { openHost, type Host } from '../open-host.ts';
import type { FromChild, RunEnd, WorkOrder } from '../protocol.ts';

/** The smallest pass that is worth another attempt, in tokens. */
const SMALLEST_PASS = 64;

/**
 * One attempt at a run: from its beginning, or from the newest checkpoint of the attempts before.
 * @param signal stops it at the next step; its reason says what for
 * @param tell must not throw
 */
export async function carryOut(order: WorkOrder, signal: AbortSignal, tell: (message: FromChild) => void): Promise<RunEnd> {
  const log = tellingLogger(tell);
  let host: Host | undefined;
  try {
    host = await openHost({ pluginDirs: [...order.pluginDirs, ...(await readPluginDirs(order.configFile))], log });
    const submitted = await onlyConfig(order.configFile, host.kernel, []);
    const dir = join(submitted.runsDir, order.runId);
    const before = (await hasBegun(dir)) ? await readRunRecord(dir) : undefined;
    const swap = order.swap === undefined || before?.swaps?.includes(order.swap.id) === true ? undefined : order.swap.id;
    // One that has not begun has no other config.
    tell({ type: 'directory', dir, swapped: before === undefined || swap === undefined });
    if (before?.status === 'succeeded') return { status: 'succeeded' };
    const file = before === undefined || swap !== undefined ? order.configFile : await settleConfig(dir);
    const config = await onlyConfig(file, host.kernel, settings(submitted, order, log));
    const subscriber = { name: 'host', receive: (event: Extract<FromChild, { type: 'event' }>['event']) => tell({ type: 'event', at: Date.now(), event }) };
    const { record, error } = await runExperiment(
      config,
      { kernel: host.kernel, log, cacheDir: host.cacheDir, signal, subscribers: [subscriber] },
      before === undefined ? { id: order.runId, swap } : { resume: dir, swap },
    );
    if (record.status === 'succeeded') return { status: 'succeeded' };
    if (record.status === 'cancelled') return { status: 'stopped', reason: record.reason ?? 'It was stopped.' };
    return failure(error);
  } catch (error) {
    return signal.aborted && !GraftError.is(error) ? { status: 'stopped', reason: 'It was stopped before training began.' } : failure(error);
  } finally {
    await host?.dispose();
  }
}

/** A directory whose making was cut short is made anew. */
async function hasBegun(dir: string): Promise<boolean> {
  if (existsSync(join(dir, 'run.json'))) return true;
  await rm(dir, { recursive: true, force: true });
  return false;
}

export async function onlyConfig(file: string, schemas: Parameters<typeof resolveConfigs>[1]['schemas'], set: readonly string[]): Promise<RunConfig> {
  return (await resolveConfigs(file, { schemas, set }))[0]!;
}

/** What the host lays over a config: threads where it leaves them open, and less memory for each pass after running out of it. */
export function settings(config: RunConfig, { threads, halvings }: Pick<WorkOrder, 'threads' | 'halvings'>, log: Pick<Logger, 'warn'>): readonly string[] {
  const set = config.engine.threads === 'auto' ? [`engine.threads=${threads}`] : [];
  const tokens = config.train?.options['micro_batch_tokens'];
  if (halvings === 0 || typeof tokens !== 'number') return set;
  const fewer = Math.min(tokens, Math.max(SMALLEST_PASS, Math.floor(tokens / 2 ** halvings)));
  log.warn(`The attempt before ran out of memory: a pass takes ${fewer} tokens from now on, not ${tokens}. A step is made of more passes, and its gradient is the same.`);
  return [...set, `train.micro_batch_tokens=${fewer}`];
}

/** What a person can mend stays as it is until somebody does; the network, a slow start and what nobody foresaw may well be different next time. */
const PASSING: ReadonlySet<string> = new Set(['HUB_UNREACHABLE', 'HUB_BROKEN_OFF', 'HUB_REFUSED', 'PLUGIN_UNAVAILABLE']);

/** How an order ends that threw. */
export function failure(error: unknown): RunEnd {
  const code = isOfFullDisk(error) ? DISK_FULL : GraftError.is(error) ? error.code : undefined;
  return { status: 'failed', reason: reasonOf(error), code, lasting: GraftError.is(error) && !PASSING.has(error.code) };
}

/** Whether a full disk is at the bottom of it. */
function isOfFullDisk(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (lacksSpace(cause)) return true;
  return false;
}

/** What can be sent of a log line's fields. */
function plain(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(JSON.stringify(fields)) as Readonly<Record<string, unknown>>;
  } catch {
    return {};
  }
}

/** Logs to the host. */
export function tellingLogger(tell: (message: FromChild) => void): Logger {
  const withFields = (fields: Readonly<Record<string, unknown>>): Logger => {
    const log = (level: 'info' | 'warn' | 'error') => (message: string, own?: Readonly<Record<string, unknown>>): void => tell({ type: 'log', level, message, fields: plain({ ...fields, ...own }) });
    return { debug: () => undefined, info: log('info'), warn: log('warn'), error: log('error'), child: (own) => withFields({ ...fields, ...own }) };
  };
  return withFields({});
}
