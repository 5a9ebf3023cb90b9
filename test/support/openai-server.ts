/** A serve plugin of the OpenAI kind over a real model, with the official client. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import type { Graft, LoadedModel, Logger, RunEvent, RunningServer, StageCall } from '../../core/index.ts';
import { checkOptions } from '../../core/config/options.ts';
import { createScope } from '../../core/kernel/scope.ts';
import { Batcher, type BatchLimits, type BatchObserver } from '../../core/serving/batcher.ts';
import { HotServedModels, type StackSource } from '../../core/serving/served-models.ts';
import plugin from '../../plugins/serve-openai/index.ts';
import { startServer } from '../../plugins/serve-openai/server.ts';
import { loadFolder, oracleDir } from './model.ts';
import { bytePieces, writeTokenizer } from './piece-tokenizer.ts';
import { inject, quietLog, strategyHost } from './strategies.ts';
import { writeTinyModel } from './tiny-run.ts';

export const BASE = 'org/tiny';
export const ADAPTED = 'my-run';
/** An adapter whose folder can't be read. */
export const BROKEN = 'broken-run';

type Request = Extract<RunEvent, { type: 'request' }>;

export interface TestServer {
  readonly base: LoadedModel;
  readonly batcher: Batcher;
  readonly models: HotServedModels;
  readonly server: RunningServer;
  readonly client: OpenAI;
  /** What its log calls an error. */
  readonly errors: string[];
  /** The requests that it told the host of. */
  readonly requests: Request[];
  /** One more server over the same models. */
  serve(options?: Readonly<Record<string, unknown>>): Promise<{ readonly server: RunningServer; readonly client: OpenAI; stop(): Promise<void> }>;
  /** A low-rank adapter of random values. */
  adapter(id: string, change?: (graft: Graft) => void): StackSource;
  post(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
  stop(): Promise<void>;
}

export const clientOf = ({ url }: Pick<RunningServer, 'url'>, apiKey = 'any'): OpenAI => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });

/** @param base the tiny model of single characters, unless another is given; it is disposed with the server */
export async function openServer(base?: LoadedModel, limits: Partial<BatchLimits> = {}, observer: BatchObserver = {}): Promise<TestServer> {
  const errors: string[] = [];
  const requests: Request[] = [];
  const log: Logger = { ...quietLog, error: (message) => void errors.push(message) };
  const host = await strategyHost();
  const loaded = base ?? (await tinyModel());
  const batcher = new Batcher(loaded.model, limits, observer);
  const generation = (name: string, digit: string) => ({ plugin: name, version: '0.1.0', hash: digit.repeat(64), number: 1 });
  const models = new HotServedModels({ base: loaded, baseId: BASE, baseGenerations: [generation('load:llama', 'a')], batcher, log });
  const adapter: TestServer['adapter'] = (id, change) => ({
    id,
    plugins: ['inject:lora'],
    build: async (stack) => {
      const graft = await inject(host, loaded.model, stack, 'lora', { r: 4, init_lora_weights: false });
      change?.(graft);
      return { stack, grafts: [graft], generations: [generation('inject:lora', 'b')], dispose: async () => graft.remove() };
    },
  });
  models.add(adapter(ADAPTED));
  models.add({ id: BROKEN, plugins: ['inject:lora'], build: () => Promise.reject(new Error('its weights are cut short')) });
  const serve: TestServer['serve'] = async (options = {}) => {
    const scope = createScope('server', log);
    const config = checkOptions(plugin.config, { port: 0, ...options }, 'the serve plugin `openai`') as never;
    const call: StageCall<never> = { config, log, scope, signal: new AbortController().signal, engine: loaded.model.engine, seed: 1, baseDir: tmpdir(), cacheDir: tmpdir(), emit: (event) => void (event.type === 'request' && requests.push(event)) };
    const server = await startServer({ ...call, models });
    return { server, client: clientOf(server), stop: () => scope.dispose() };
  };
  const first = await serve();
  return {
    ...{ base: loaded, batcher, models, adapter, errors, requests, serve, server: first.server, client: first.client },
    post: (path, body, headers = { 'content-type': 'application/json' }) => fetch(`${first.server.url}${path}`, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) }),
    stop: async () => {
      await first.stop();
      await batcher.dispose();
      await models.dispose();
      loaded.model.dispose();
    },
  };
}

/** Two layers, vocabulary 64 of single characters, context 128. @param template of its chats; none by default */
export async function tinyModel(template?: string): Promise<LoadedModel> {
  const dir = mkdtempSync(join(tmpdir(), 'graft-serve-'));
  writeTinyModel(dir);
  return loadFolder(dir, template === undefined ? {} : { chat_template: template });
}

/** A model of random weights that can say every byte, so every text; its context has 512 tokens. `words`: more tokens, U+2581 for a space. */
export async function byteModel(words: readonly string[]): Promise<LoadedModel> {
  const dir = mkdtempSync(join(tmpdir(), 'graft-bytes-'));
  const pieces = [...bytePieces('byte-fallback'), ...words];
  writeTokenizer(dir, 'byte-fallback', pieces);
  const config = JSON.parse(readFileSync(join(oracleDir(), 'peft/base_config.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, vocab_size: pieces.length + 1, eos_token_id: pieces.length, bos_token_id: null, max_position_embeddings: 512, initializer_range: 0.3 }));
  return loadFolder(dir, { init: 'random' });
}
