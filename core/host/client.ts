/** The daemon as its commands see it. */
import { readFileSync } from 'node:fs';
import type { GenerationReport, KernelReport } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import type { WatchedConfig } from './config-folders.ts';
import type { DescribedJob } from './described-job.ts';
import type { Group } from './group.ts';
import type { JobAction } from './job-action.ts';
import type { ModelStanding } from './models/model-process.ts';
import type { Attempt, StoredEvent } from './run-store.ts';
import { addressFileOf, defaultStateDir, type DaemonAddress } from './state-dir.ts';
import type { Submission } from './submissions.ts';
import type { ApiKey } from './trust/api-keys.ts';
import type { SwapRequest } from './swaps.ts';

export class DaemonClient {
  readonly #address: DaemonAddress;

  private constructor(address: DaemonAddress) {
    this.#address = address;
  }

  /**
   * Finds the daemon of a state folder.
   * @throws GraftError `NO_DAEMON`
   */
  static find(stateDir = defaultStateDir()): DaemonClient {
    try {
      return new DaemonClient(JSON.parse(readFileSync(addressFileOf(stateDir), 'utf8')) as DaemonAddress);
    } catch (error) {
      throw new GraftError('NO_DAEMON', `No daemon runs on the state folder ${stateDir}.`, { hint: 'Start one with `graft daemon`, or name its folder with --state.', cause: error });
    }
  }

  async submit(submission: Submission): Promise<readonly DescribedJob[]> {
    return (await this.#ask<{ jobs: readonly DescribedJob[] }>('POST', '/jobs', submission)).jobs;
  }

  async list(filter: { readonly state?: string; readonly group?: string; readonly limit?: number } = {}): Promise<readonly DescribedJob[]> {
    const query = new URLSearchParams(Object.entries(filter).flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, String(value)]])));
    return (await this.#ask<{ jobs: readonly DescribedJob[] }>('GET', `/jobs?${query}`)).jobs;
  }

  get(id: string): Promise<{ readonly job: DescribedJob; readonly attempts: readonly Attempt[] }> {
    return this.#ask('GET', `/jobs/${encodeURIComponent(id)}`);
  }

  async act(action: JobAction, id: string): Promise<DescribedJob> {
    return (await this.#ask<{ job: DescribedJob }>('POST', `/jobs/${encodeURIComponent(id)}/${action}`)).job;
  }

  /** The bases that it serves, each in a process of its own. */
  async models(): Promise<readonly ModelStanding[]> {
    return (await this.#ask<{ models: readonly ModelStanding[] }>('GET', '/models')).models;
  }

  /** The daemon's plugins as they are now, with the reasons of edits that were refused. */
  async plugins(): Promise<KernelReport> {
    const { report } = await this.#ask<{ report: KernelReport }>('GET', '/plugins');
    const dated = (generation: GenerationReport): GenerationReport => ({ ...generation, activatedAt: new Date(generation.activatedAt) });
    return { ...report, slots: report.slots.map((slot) => ({ ...slot, draining: slot.draining.map(dated), ...(slot.current === undefined ? {} : { current: dated(slot.current) }) })) };
  }

  /** The runs of a group beside each other. */
  group(name: string): Promise<Group> {
    return this.#ask('GET', `/groups/${encodeURIComponent(name)}`);
  }

  async configs(): Promise<readonly WatchedConfig[]> {
    return (await this.#ask<{ configs: readonly WatchedConfig[] }>('GET', '/configs')).configs;
  }

  swap(id: string, request: SwapRequest): Promise<{ readonly job: DescribedJob; readonly notes: readonly string[] }> {
    return this.#ask('POST', `/jobs/${encodeURIComponent(id)}/swap`, request);
  }

  async remove(id: string): Promise<void> {
    await this.#ask('DELETE', `/jobs/${encodeURIComponent(id)}`);
  }

  async keys(): Promise<readonly ApiKey[]> {
    return (await this.#ask<{ keys: readonly ApiKey[] }>('GET', '/keys')).keys;
  }

  /** @returns a new key with its secret, which is never seen again */
  addKey(name: string, scopes: readonly string[]): Promise<{ readonly key: ApiKey; readonly secret: string }> {
    return this.#ask('POST', '/keys', { name, scopes });
  }

  async revokeKey(name: string): Promise<void> {
    await this.#ask('DELETE', `/keys/${encodeURIComponent(name)}`);
  }

  /** What a job has told, oldest first; with `follow` as it comes, until the job has ended. */
  async *events(id: string, { follow, signal }: { readonly follow: boolean; readonly signal?: AbortSignal }): AsyncGenerator<StoredEvent> {
    const response = await this.#fetch('GET', `/jobs/${encodeURIComponent(id)}/events?follow=${follow ? 1 : 0}`, undefined, signal);
    const decoder = new TextDecoder();
    let rest = '';
    try {
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
        rest = lines.pop()!;
        for (const line of lines) if (line !== '') yield JSON.parse(line) as StoredEvent;
      }
    } catch (error) {
      throw signal?.aborted === true || GraftError.is(error) ? error : this.#gone(error);
    }
  }

  async #ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    return (await (await this.#fetch(method, path, body)).json()) as T;
  }

  async #fetch(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
    const { url, token } = this.#address;
    let response: Response;
    try {
      response = await fetch(`${url}/graft/v1${path}`, { method, signal, headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    } catch (error) {
      if (signal?.aborted === true) throw error;
      throw this.#gone(error);
    }
    if (response.ok) return response;
    const { error } = (await response.json().catch(() => ({ error: { code: 'DAEMON', message: `The daemon answered ${response.status}.`, hint: null } }))) as { error: { code: string; message: string; hint: string | null } };
    throw new GraftError(error.code, error.message, { hint: error.hint ?? undefined });
  }

  #gone(error: unknown): GraftError {
    const { url, pid } = this.#address;
    return new GraftError('NO_DAEMON', `The daemon at ${url} (process ${pid}) does not answer: ${reasonOf((error as Error).cause ?? error)}.`, { hint: 'Start it again with `graft daemon`: what was queued goes on.', cause: error });
  }
}
