/** Requests to the Hugging Face Hub: where it is, who asks, and what its refusals mean. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { getHFHubCachePath, HUB_URL, listFiles, modelInfo } from '@huggingface/hub';
import { GraftError, reasonOf } from 'graft';

/** A file of a repository, as its tree lists it. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** What its blob is called in the cache: sha256 of a large file, git's sha1 of a small one. */
  readonly etag: string;
}

/** Until the first byte of an answer, in milliseconds. */
const ANSWER_TIMEOUT = 30_000;

export class HubClient {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Where Python's huggingface_hub keeps its downloads too. */
  readonly cacheDir: string;
  /** No request may be made. */
  readonly offline: boolean;
  readonly #token: string | undefined;

  /** @param env HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, as huggingface_hub reads them */
  constructor(env: NodeJS.ProcessEnv = process.env) {
    this.endpoint = (env['HF_ENDPOINT'] ?? HUB_URL).replace(/\/+$/, '');
    this.cacheDir = getHFHubCachePath();
    this.offline = [env['HF_HUB_OFFLINE'], env['TRANSFORMERS_OFFLINE']].some((value) => ['1', 'true', 'yes', 'on'].includes(value?.toLowerCase() ?? ''));
    this.#token = tokenOf(env);
  }

  /** The commit that a branch or tag stands for now. */
  async commitOf(model: string, revision: string, signal: AbortSignal): Promise<string> {
    const { sha } = await modelInfo({ name: model, revision, additionalFields: ['sha'], hubUrl: this.endpoint, fetch: this.#fetchFor(model, revision, signal) });
    return sha;
  }

  async files(model: string, commit: string, signal: AbortSignal): Promise<readonly HubFile[]> {
    const files: HubFile[] = [];
    for await (const { type, path, size, oid, lfs } of listFiles({ repo: model, revision: commit, hubUrl: this.endpoint, fetch: this.#fetchFor(model, commit, signal) })) {
      const etag = lfs?.oid ?? oid;
      if (type === 'file' && etag !== undefined) files.push({ path, size: lfs?.size ?? size, etag });
    }
    return files;
  }

  /** A file's bytes from `start` on; the answer may begin at 0 all the same, which its status 200 says. */
  open(model: string, commit: string, path: string, start: number, signal: AbortSignal): Promise<Response> {
    const url = `${this.endpoint}/${model}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
    return this.#fetchFor(model, commit, signal)(url, { headers: start > 0 ? { Range: `bytes=${start}-` } : {} });
  }

  /**
   * The token goes to the endpoint alone: fetch drops it where a redirect leads to another host.
   * @throws GraftError as `refusal` says, or `HUB_UNREACHABLE`
   */
  #fetchFor(model: string, revision: string, signal: AbortSignal): typeof fetch {
    return async (input, init) => {
      const url = new URL(input instanceof Request ? input.url : input);
      const headers = new Headers(init?.headers);
      if (this.#token !== undefined && url.origin === new URL(this.endpoint).origin) headers.set('Authorization', `Bearer ${this.#token}`);
      const waiting = new AbortController();
      const timer = setTimeout(() => waiting.abort(new Error(`no answer within ${ANSWER_TIMEOUT / 1000} s`)), ANSWER_TIMEOUT);
      let response: Response;
      try {
        response = await fetch(url, { ...init, headers, signal: AbortSignal.any([signal, waiting.signal]) });
      } catch (error) {
        signal.throwIfAborted();
        const reason = reasonOf((error as { cause?: unknown }).cause ?? error);
        throw new GraftError('HUB_UNREACHABLE', `${this.endpoint} can't be reached: ${reason}.`, { hint: 'Check the network and HF_ENDPOINT, or give the folder of a checkpoint on this machine.', cause: error });
      } finally {
        clearTimeout(timer);
      }
      if (response.ok) return response;
      await response.body?.cancel();
      throw this.#refusal(response, model, revision);
    };
  }

  #refusal({ status, headers, url }: Response, model: string, revision: string): GraftError {
    const code = headers.get('X-Error-Code');
    const page = `${this.endpoint}/${model}`;
    if (code === 'GatedRepo' || status === 403) {
      return new GraftError('HUB_GATED', `The model ${model} is gated: ${this.endpoint} lets only people have it who accepted its conditions.`, {
        hint: `Accept them at ${page}, and set HF_TOKEN to a token of your account (${this.endpoint}/settings/tokens).`,
      });
    }
    if (code === 'RevisionNotFound') return new GraftError('HUB_REVISION', `The model ${model} has no branch, tag or commit "${revision}".`, { option: ['revision'] });
    if (status === 404 || status === 401) {
      const invalid = status === 401 && this.#token !== undefined && code === null;
      if (invalid) return new GraftError('HUB_TOKEN', `${this.endpoint} does not accept the token in HF_TOKEN.`, { hint: `Make a new one at ${this.endpoint}/settings/tokens.` });
      return new GraftError('HUB_NOT_FOUND', `There is no model ${model} at ${this.endpoint}, or it is private.`, {
        hint: this.#token === undefined ? 'Check the name; for a private model set HF_TOKEN.' : 'Check the name, and whether the token in HF_TOKEN may read it.',
      });
    }
    return new GraftError('HUB_REFUSED', `${url} answered with status ${status}.`, { hint: status === 429 ? 'The Hub limits how often it is asked; try again in some minutes.' : 'Try again later.' });
  }
}

function tokenOf(env: NodeJS.ProcessEnv): string | undefined {
  const given = env['HF_TOKEN']?.trim();
  if (given !== undefined && given !== '') return given;
  const home = env['HF_HOME'] ?? join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'huggingface');
  try {
    return readFileSync(env['HF_TOKEN_PATH'] ?? join(home, 'token'), 'utf8').trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
