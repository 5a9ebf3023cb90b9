/** Which steps of a run were done under which config. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { differencesOf, type RunConfig } from '../config/index.ts';
import type { RunEvent } from '../contracts/index.ts';
import { writeText } from './durable.ts';
import { configFileOf, configText, readRunRecord, type RunDirectory, type RunRecord, type Span } from './run-directory.ts';

/** Folder of the configs that a run has had, `<number>.yaml` each. */
const CONFIGS = 'configs';

/** Oldest first; at least one. */
export function spansOf({ spans, startedAt, seed, data, generations }: RunRecord): readonly Span[] {
  return spans ?? [{ fromStep: 0, at: startedAt, config: `${CONFIGS}/0.yaml`, seed, fingerprint: data?.fingerprint ?? '', generations }];
}

/** The one that did a step. */
export function spanOf(spans: readonly Span[], step: number): Span {
  return spans.findLast(({ fromStep }) => fromStep < step) ?? spans[0]!;
}

/** Whether two spans train on the same data in the same order. */
export function dataOf(before: Pick<Span, 'fingerprint' | 'seed'>, after: Pick<Span, 'fingerprint' | 'seed'>): 'same-data' | 'other-data' {
  return before.fingerprint === after.fingerprint && before.seed === after.seed ? 'same-data' : 'other-data';
}

/** The last step that was done on other data than the newest one's, or trained something else: -1 where there is none. */
export function incomparableUntil(spans: readonly Span[]): number {
  return spans.reduce((until, span, index) => (index > 0 && (spans[index - 1]!.fingerprint !== span.fingerprint || span.otherTrainables === true) ? span.fromStep : until), -1);
}

/** The last steps of spans after which something else was trained. */
export function lastOfTrainables(spans: readonly Span[]): ReadonlySet<number> {
  return new Set(spans.filter(({ otherTrainables }) => otherTrainables === true).map(({ fromStep }) => fromStep));
}

/**
 * Begins a span: a process that is killed at any moment leaves the run under the old config or under the new one.
 * @param id what run.json calls the swap
 * @param change what is known of the run under the new config
 */
export async function beginSpan(directory: RunDirectory, config: RunConfig, id: string, span: Omit<Span, 'config' | 'at'>, change: Partial<Omit<RunRecord, 'format' | 'id'>>): Promise<void> {
  const { dir, record } = directory;
  const folder = join(dir, CONFIGS);
  await mkdir(folder, { recursive: true });
  if (!existsSync(join(folder, '0.yaml'))) await writeText(join(folder, '0.yaml'), await readFile(configFileOf(dir), 'utf8'));
  const file = `${CONFIGS}/${(await readdir(folder)).filter((name) => name.endsWith('.yaml')).length}.yaml`;
  await writeText(join(dir, file), configText(config));
  // What was begun under a config and then done under another is no span of the first; the very first config stays.
  const spans = [...spansOf(record).filter(({ fromStep }, index) => index === 0 || fromStep < span.fromStep), { ...span, config: file, at: new Date().toISOString() }];
  await directory.update({ ...change, seed: config.seed, configFile: config.file, spans, swaps: [...(record.swaps ?? []), id] });
  await settleConfig(dir);
}

/**
 * Makes config.yaml that of the newest span, where a process was killed before it could.
 * @returns its path
 */
export async function settleConfig(dir: string): Promise<string> {
  const file = configFileOf(dir);
  const newest = (await readRunRecord(dir)).spans?.at(-1);
  if (newest === undefined) return file;
  const text = await readFile(join(dir, newest.config), 'utf8');
  if (text !== (await readFile(file, 'utf8'))) await writeText(file, text);
  return file;
}

/** The resolved config that a run is under. */
export async function configNow(dir: string, { spans }: RunRecord): Promise<Readonly<Record<string, unknown>>> {
  const newest = spans?.at(-1);
  return parse(await readFile(newest === undefined ? configFileOf(dir) : join(dir, newest.config), 'utf8')) as Readonly<Record<string, unknown>>;
}

/** What the newest span of a run changed. */
export async function swappedEvent(dir: string, record: RunRecord): Promise<Extract<RunEvent, { readonly type: 'swapped' }> | undefined> {
  const [before, after] = [record.spans?.at(-2), record.spans?.at(-1)];
  if (before === undefined || after === undefined) return undefined;
  const read = async (file: string): Promise<Readonly<Record<string, unknown>>> => parse(await readFile(join(dir, file), 'utf8')) as Readonly<Record<string, unknown>>;
  const plugins = [...new Set([...Object.keys(before.generations), ...Object.keys(after.generations)])].flatMap((plugin) => {
    const [from, to] = [before.generations[plugin]?.hash, after.generations[plugin]?.hash];
    return from === to ? [] : [{ plugin, from, to }];
  });
  return { type: 'swapped', step: after.fromStep, config: after.config, data: dataOf(before, after), options: differencesOf(await read(before.config), await read(after.config)), plugins };
}
