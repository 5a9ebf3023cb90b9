/** A model on the Hugging Face Hub, as a folder on this machine. */
import { join } from 'node:path';
import { GraftError, readJsonFile, type Logger, type RunEvent } from 'graft';
import { COMPANION_FILES, INDEX_FILE, noSafetensors, WEIGHTS_FILE } from './files.ts';
import { HubCache, isCommit, type Parts } from './hub-cache.ts';
import type { HubClient, HubFile } from './hub-client.ts';
import { downloadFile } from './hub-download.ts';

export interface HubCall {
  readonly signal: AbortSignal;
  readonly log: Logger;
  emit(event: RunEvent): void;
}

/** Between two reports of progress, in milliseconds. */
const REPORT_EVERY = 100;

/** `name` or `owner/name`, as the Hub writes ids. */
export function isHubId(text: string): boolean {
  return /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(text) && !text.includes('..') && text.length <= 96 * 2 + 1;
}

/**
 * Downloads what is missing in the cache that Python's huggingface_hub uses too.
 *
 * A commit that is there whole needs no network, and neither does anything under HF_HUB_OFFLINE; a branch is asked for
 * anew, and where the Hub can't be reached the commit that it was last time is taken.
 *
 * @returns the snapshot's folder
 * @throws GraftError `HUB_OFFLINE`, `MODEL_WEIGHTS_MISSING`, or as the client and the download say
 */
export async function fetchModel(model: string, revision: string, parts: Parts, call: HubCall): Promise<string> {
  // The Hub's library is loaded for models that are on it.
  const { HubClient } = await import('./hub-client.ts');
  const client = new HubClient();
  const cache = new HubCache(client.cacheDir, model);
  const found = await cache.find(revision, parts);
  if (found !== undefined && (client.offline || isCommit(revision))) return found;
  if (client.offline) throw new GraftError('HUB_OFFLINE', `The model ${model} (${revision}) is not in ${client.cacheDir}, and HF_HUB_OFFLINE forbids to download it.`);

  let commit: string;
  let files: readonly HubFile[];
  try {
    commit = isCommit(revision) ? revision : await client.commitOf(model, revision, call.signal);
    const known = await cache.find(commit, parts);
    if (known !== undefined) {
      await cache.setRef(revision, commit);
      return known;
    }
    files = await client.files(model, commit, call.signal);
  } catch (error) {
    if (found === undefined || !GraftError.is(error) || error.code !== 'HUB_UNREACHABLE') throw error;
    call.log.warn(`${error.message} Going on with ${model} as it was downloaded before.`);
    return found;
  }
  await download(model, commit, files, parts, client, cache, call);
  await cache.setRef(revision, commit);
  return cache.snapshotDir(commit);
}

async function download(model: string, commit: string, files: readonly HubFile[], parts: Parts, client: HubClient, cache: HubCache, call: HubCall): Promise<void> {
  const texts = files.filter(({ path }) => COMPANION_FILES.includes(path) || path === INDEX_FILE);
  const progress = meter(model, call);
  const fetchAll = async (wanted: readonly HubFile[]): Promise<void> => {
    progress.expect(wanted);
    for (const file of wanted) {
      if (await cache.link(file, commit)) progress.add(file.size);
      else {
        await downloadFile(file, { client, cache, model, commit, signal: call.signal, progress: progress.add });
        await cache.link(file, commit);
      }
    }
  };
  const weights = (names: readonly string[]): readonly HubFile[] => files.filter(({ path }) => names.includes(path));
  const sharded = texts.some(({ path }) => path === INDEX_FILE);
  if (parts === 'all' && !sharded && weights([WEIGHTS_FILE]).length === 0) throw noSafetensors(`The model ${model}`, files.map(({ path }) => path));
  await fetchAll(texts);
  if (parts === 'texts') return;
  await fetchAll(weights(sharded ? await shardsOf(join(cache.snapshotDir(commit), INDEX_FILE)) : [WEIGHTS_FILE]));
}

async function shardsOf(index: string): Promise<readonly string[]> {
  return [...new Set(Object.values(((await readJsonFile(index))?.['weight_map'] ?? {}) as Record<string, string>))];
}

/** Adds up bytes and reports them now and then, and at the end. */
function meter(label: string, call: HubCall): { expect(files: readonly HubFile[]): void; readonly add: (bytes: number) => void } {
  let [done, total, reported] = [0, 0, 0];
  return {
    expect: (files) => void (total += files.reduce((sum, file) => sum + file.size, 0)),
    add: (bytes) => {
      done += bytes;
      if (done < total && performance.now() - reported < REPORT_EVERY) return;
      reported = performance.now();
      call.emit({ type: 'progress', label, done, total, unit: 'bytes' });
    },
  };
}
