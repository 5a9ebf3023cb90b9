/** One file from the Hub into the cache: resumed where it broke off, and checked against the size and hash that the Hub lists. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm, stat, truncate, type FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { GraftError, reasonOf } from 'graft';
import type { HubCache } from './hub-cache.ts';
import type { HubClient, HubFile } from './hub-client.ts';

export interface DownloadJob {
  readonly client: HubClient;
  readonly cache: HubCache;
  readonly model: string;
  readonly commit: string;
  readonly signal: AbortSignal;
  /** Told of bytes as they come, those found from before included; negative where they turn out useless. */
  progress(bytes: number): void;
}

/** Tries after a connection broke without a byte more. */
const RETRIES = 4;
/** Longest silence in the middle of a file, in milliseconds. */
const SILENCE = 60_000;

/** @throws GraftError `HUB_SIZE` or `HUB_HASH` where what came is not what the Hub lists; `HUB_BROKEN_OFF` when the connection keeps breaking */
export async function downloadFile(file: HubFile, job: DownloadJob): Promise<void> {
  const { cache } = job;
  const claimed = await cache.claim(file.etag);
  try {
    await fill(claimed, file, job);
    await check(claimed, file, job.model);
  } catch (error) {
    const useless = GraftError.is(error) && (error.code === 'HUB_SIZE' || error.code === 'HUB_HASH');
    await (useless ? rm(claimed, { force: true }) : cache.release(claimed, file.etag));
    throw error;
  }
  await cache.finish(claimed, file.etag);
}

/** Fetches until the file has its size; a broken connection is taken up again where it broke. */
async function fill(path: string, file: HubFile, job: DownloadJob): Promise<void> {
  let done = (await stat(path)).size;
  if (done > file.size) {
    await truncate(path);
    done = 0;
  }
  job.progress(done);
  for (let failures = 0; done < file.size; ) {
    const before = done;
    try {
      done = await fetchRest(path, done, file, job);
      if (done < file.size) throw wrongSize(file, job.model, done);
    } catch (error) {
      job.signal.throwIfAborted();
      if (GraftError.is(error) && error.code !== 'HUB_UNREACHABLE') throw error;
      done = (await stat(path)).size;
      failures = done > before ? 0 : failures + 1;
      if (failures > RETRIES) {
        throw new GraftError('HUB_BROKEN_OFF', `The download of ${file.path} of ${job.model} broke off at ${done} of ${file.size} bytes: ${reasonOf(error)}.`, { hint: 'Run it again: it goes on from there.', cause: error });
      }
      await delay(250 * 2 ** failures, undefined, { signal: job.signal }).catch(() => job.signal.throwIfAborted());
    }
  }
}

/** @returns the bytes that the file has in the end */
async function fetchRest(path: string, start: number, file: HubFile, { client, model, commit, signal, progress }: DownloadJob): Promise<number> {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new Error(`no data for ${SILENCE / 1000} s`)), SILENCE);
  let handle: FileHandle | undefined;
  try {
    const response = await client.open(model, commit, file.path, start, AbortSignal.any([signal, silence.signal]));
    const resumed = start > 0 && response.status === 206;
    if (!resumed) progress(-start);
    let done = resumed ? start : 0;
    handle = await open(path, resumed ? 'a' : 'w');
    for await (const chunk of response.body!) {
      timer.refresh();
      if (done + chunk.byteLength > file.size) throw wrongSize(file, model, done + chunk.byteLength);
      await handle.write(chunk);
      done += chunk.byteLength;
      progress(chunk.byteLength);
    }
    await handle.sync();
    return done;
  } finally {
    clearTimeout(timer);
    await handle?.close();
  }
}

function wrongSize(file: HubFile, model: string, bytes: number): GraftError {
  return new GraftError('HUB_SIZE', `${file.path} of ${model} came with ${bytes} bytes${bytes > file.size ? ' or more' : ''}; the Hub lists ${file.size}.`, { hint: 'Something between here and the Hub changes files; try again, or another network.' });
}

/** Large files are known by their sha256, small ones as git knows them: sha1 of `blob <size>\0` and the content. */
async function check(path: string, { path: name, size, etag }: HubFile, model: string): Promise<void> {
  const hash = hashFor(etag, size);
  if (hash === undefined) return;
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  if (hash.digest('hex') === etag) return;
  throw new GraftError('HUB_HASH', `${name} of ${model} is not the file that the Hub lists: its hash differs.`, { hint: 'It was damaged on the way and has been deleted; try again.' });
}

function hashFor(etag: string, size: number): Hash | undefined {
  if (/^[0-9a-f]{64}$/.test(etag)) return createHash('sha256');
  return /^[0-9a-f]{40}$/.test(etag) ? createHash('sha1').update(`blob ${size}\0`) : undefined;
}
