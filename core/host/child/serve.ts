/** Serving one base model with its adapters, in a process of its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TSchema } from 'typebox';
import { checkOptions } from '../../config/options.ts';
import type { Entry } from '../../config/index.ts';
import { GraftError, reasonOf } from '../../kernel/errors.ts';
import { openWorkbench } from '../../run/workbench.ts';
import { adapterSource } from '../../serving/adapter-source.ts';
import { Batcher } from '../../serving/batcher.ts';
import { HotServedModels } from '../../serving/served-models.ts';
import { HotServer } from '../../serving/servers.ts';
import { openHost, type Host } from '../open-host.ts';
import type { FromChild, RunEnd, ServeCounts, ServeOrder, ToChild } from '../protocol.ts';
import { failure, tellingLogger } from './work.ts';

/** Milliseconds between two reports of what was counted. */
const COUNTS_MS = 1000;
/** Milliseconds that a request takes from the host to here, at most, or it is sent again. */
const ARRIVAL_MS = 200;

/** The line to the host. */
export interface HostLine {
  /** Must not throw. */
  tell(message: FromChild): void;
  onTold(listener: (message: ToChild) => void): void;
}

/**
 * Loads the base and answers until told to stop; plugins are taken up as they are edited.
 * @param signal ends it when the answers in flight are complete
 */
export async function serve(order: ServeOrder, signal: AbortSignal, line: HostLine): Promise<RunEnd> {
  const log = tellingLogger(line.tell);
  let host: Host | undefined;
  try {
    host = await openHost({ pluginDirs: order.pluginDirs, watch: true, log, setupMs: order.setupMs });
    await answer(order, host, signal, line);
    return { status: 'stopped', reason: 'It was stopped.' };
  } catch (error) {
    return failure(error);
  } finally {
    await host?.dispose();
  }
}

async function answer(order: ServeOrder, host: Host, signal: AbortSignal, { tell, onTold }: HostLine): Promise<void> {
  const { kernel, log } = host;
  const bench = await openWorkbench({ ...host, signal }, { engine: order.engine.use, threads: order.engine.threads, loader: order.load.use });
  try {
    const { model: path, ...options } = order.load.options as { readonly model: string };
    const base = await bench.load(path, options);
    const counted = counter();
    const batcher = new Batcher(base.model, { kvBytes: order.kvBytes, maxSequences: order.maxSequences, maxBatchTokens: order.maxBatchTokens }, counted.observer);
    const find = finder(tell, onTold);
    const adapters = { kernel, model: base.model, call: bench.call };
    const loader = kernel.lease('load', order.load.use);
    loader.release();
    const models = new HotServedModels({
      base,
      baseId: order.id,
      baseGenerations: [loader.generation],
      batcher,
      log,
      adapterBytes: order.adapterBytes,
      find: async (id) => {
        const dir = await find(id);
        return dir === undefined ? undefined : adapterSource(adapters, id, dir);
      },
    });
    // Answers in flight are not to hear of the end before they have come to theirs; the host sees to those that never do.
    const answering = new AbortController();
    const unfollow = models.follow(kernel);
    onTold((message) => {
      if (message.type === 'ask') void carryOut(models, message, tell);
    });
    const report = setInterval(() => tell({ type: 'counts', counts: { ...counted.take(), batch: batcher.state(), adapters: models.state() } }), COUNTS_MS);
    try {
      const server = await HotServer.start(
        {
          kernel,
          log,
          models,
          call: (entry) => ({ ...bench.call, signal: answering.signal, config: entry.options, log: log.child({ plugin: entry.use }) }),
          placed: (_entry, error) => error,
          startMs: order.setupMs,
        },
        entryOf(order, host),
        announcer(tell, onTold),
      );
      await new Promise<void>((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
      await server.close();
    } finally {
      answering.abort(new Error('The server has stopped.'));
      clearInterval(report);
      await unfollow();
      await batcher.dispose();
      await models.dispose();
      base.model.dispose();
    }
  } finally {
    await bench.dispose();
  }
}

/** The serve plugin's entry: on this machine alone, at any port, with a key that only the host knows, as far as the plugin has options for it. */
function entryOf({ serve: { use, options }, apiKey }: ServeOrder, { kernel, log }: Host): Entry {
  const schema = kernel.schema('serve', use) as (TSchema & { readonly properties?: object }) | undefined;
  const own = { host: '127.0.0.1', port: 0, api_key: apiKey };
  const taken = Object.entries(own).filter(([option]) => schema?.properties === undefined || option in schema.properties);
  if (!taken.some(([option]) => option === 'api_key')) log.warn(`serve:${use} has no option api_key, so whoever is on this machine can ask it past the host and its keys.`);
  const given = { ...options, ...Object.fromEntries(taken) };
  return { use, options: schema === undefined ? given : (checkOptions(schema, given, `the serve plugin \`${use}\``) as Entry['options']), path: [] };
}

async function carryOut(models: HotServedModels, { number, ask }: Extract<ToChild, { readonly type: 'ask' }>, tell: HostLine['tell']): Promise<void> {
  try {
    if (ask.what === 'unload') models.remove(ask.model);
    else await models.load(ask.model);
    tell({ type: 'answer', number });
  } catch (error) {
    tell({ type: 'answer', number, error: { ...(GraftError.is(error) ? { code: error.code, hint: error.hint } : { code: undefined, hint: undefined }), message: reasonOf(error) } });
  }
}

/** Tells the host where it answers, and waits until requests go there: only then may the server before it close. */
function announcer(tell: HostLine['tell'], onTold: HostLine['onTold']): (url: string) => Promise<void> {
  let switched = (): void => undefined;
  onTold((message) => message.type === 'switched' && switched());
  return async (url) => {
    const known = new Promise<void>((resolve) => (switched = resolve));
    tell({ type: 'serving', url });
    await known;
    // Those that were on their way have arrived.
    await sleep(ARRIVAL_MS);
  };
}

/** Asks the host where adapters are. */
function finder(tell: HostLine['tell'], onTold: HostLine['onTold']): (model: string) => Promise<string | undefined> {
  const numberToAnswer = new Map<number, (dir: string | undefined) => void>();
  let asked = 0;
  onTold((message) => {
    if (message.type !== 'found') return;
    numberToAnswer.get(message.number)?.(message.dir);
    numberToAnswer.delete(message.number);
  });
  return (model) =>
    new Promise((resolve) => {
      numberToAnswer.set(++asked, resolve);
      tell({ type: 'find', number: asked, model });
    });
}

/** Collects what the batcher tells until it is taken. */
function counter(): { readonly observer: ConstructorParameters<typeof Batcher>[2]; take(): Pick<ServeCounts, 'passes' | 'firstTokens' | 'nextTokens'> } {
  let counts: { passes: ServeCounts['passes'][number][]; firstTokens: number[]; nextTokens: number[] } = { passes: [], firstTokens: [], nextTokens: [] };
  return {
    observer: { pass: (pass) => void counts.passes.push(pass), firstToken: (seconds) => void counts.firstTokens.push(seconds), nextToken: (seconds) => void counts.nextTokens.push(seconds) },
    take: () => {
      const taken = counts;
      counts = { passes: [], firstTokens: [], nextTokens: [] };
      return taken;
    },
  };
}
