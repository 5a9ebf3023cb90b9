import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openHost, type Host } from '../../core/host/open-host.ts';
import { resolveConfigs, type RunConfig } from '../../core/config/index.ts';
import type { Logger, RunEvent } from '../../core/contracts/index.ts';
import { runExperiment, type ExperimentOptions, type Outcome } from '../../core/run/experiment.ts';
import { readHistory } from '../../core/run/history.ts';
import { planRun } from '../../core/run/planning.ts';
import { readRunRecord } from '../../core/run/run-directory.ts';
import { Session } from '../../core/run/session.ts';
import type { Subscriber } from '../../core/run/events.ts';
import { writeTinyRun, type TinyRunOptions } from '../support/tiny-run.ts';

const warnings: string[] = [];
const log: Logger = { debug: () => undefined, info: () => undefined, warn: (message) => void warnings.push(message), error: () => undefined, child: () => log };

const held = (host: Host): string[] => host.kernel.explain().slots.map(({ id, current }) => `${id}: ${current?.leases ?? 0}`);

describe('a run', () => {
  let host: Host;
  let dir: string;
  let resting: readonly string[];
  beforeAll(async () => {
    host = await openHost({ log });
    resting = held(host);
  });
  afterAll(() => host.dispose());
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'graft-run-'));
    warnings.length = 0;
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const configOf = async (options: TinyRunOptions = {}): Promise<RunConfig> => (await resolveConfigs(writeTinyRun(dir, options), { schemas: host.kernel }))[0]!;
  const runsOf = (): string[] => (existsSync(join(dir, 'runs')) ? readdirSync(join(dir, 'runs')) : []);
  /** Those held beyond what plugins hold of each other. */
  const leases = (): string[] => held(host).filter((lease) => !resting.includes(lease));

  interface Given extends ExperimentOptions {
    readonly signal?: AbortSignal;
    readonly subscribers?: readonly Subscriber[];
  }
  const carryOut = async (config: RunConfig, { signal = new AbortController().signal, subscribers = [], ...options }: Given = {}): Promise<Outcome & { readonly events: readonly RunEvent[] }> => {
    const events: RunEvent[] = [];
    const listener: Subscriber = { name: 'test', receive: (event) => void events.push(event) };
    const outcome = await runExperiment(config, { kernel: host.kernel, log, cacheDir: join(dir, 'cache'), signal, subscribers: [...subscribers, listener] }, options);
    return { ...outcome, events };
  };
  /** Stops the run after a step. */
  const stopAfter = (step: number): Required<Pick<Given, 'signal' | 'subscribers'>> => {
    const stop = new AbortController();
    return { signal: stop.signal, subscribers: [{ name: 'stop', receive: (event) => { if (event.type === 'step' && event.step === step) stop.abort(); } }] };
  };

  it('leaves its config, record, events, checkpoints, adapters and report, and holds nothing any more', async () => {
    const config = await configOf();
    const { record, dir: runDir, events, error } = await carryOut(config, { samples: 1 });
    expect(error).toBeUndefined();
    expect(readdirSync(runDir).sort()).toEqual(['adapters', 'checkpoints', 'config.yaml', 'events.jsonl', 'report.html', 'run.json']);
    expect(readdirSync(join(runDir, 'adapters/0-lora')).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors', 'graft_adapter.json']);
    expect(JSON.parse(readFileSync(join(runDir, 'run.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(record)));
    expect(record).toMatchObject({
      status: 'succeeded', name: 'tiny', seed: 11, adapters: ['adapters/0-lora'], data: { sequences: 32, evalSequences: 8 },
      engine: { name: 'portable' }, result: { steps: 16, reason: 'completed' }, memory: { estimatedPeakBytes: record.plan!.peakMemoryBytes },
    });
    expect(record.result!.evalLoss).toBeLessThan(record.result!.evalLossBefore!);
    expect(record.memory!.measuredPeakBytes).toBeGreaterThan(10 ** 7);
    expect(Object.keys(record.generations).sort()).toEqual(['engine:portable', 'inject:lora', 'load:llama', 'preprocess:text', 'train:sft']);
    for (const { hash } of Object.values(record.generations)) expect(hash).toMatch(/^[0-9a-f]{64}$/);
    const types = events.map(({ type }) => type).filter((type, i, all) => type !== 'progress' && type !== all[i - 1]);
    expect(types[0]).toBe('run-started');
    expect(types.slice(-3)).toEqual(['train-ended', 'generation', 'run-ended']);
    expect(events.filter(({ type }) => type === 'generation').map((event) => (event as Extract<RunEvent, { type: 'generation' }>).stack)).toEqual([null, 'run']);
    expect(readFileSync(join(runDir, 'report.html'), 'utf8')).toContain('Evaluation loss');
    expect(leases()).toEqual([]);
  });

  it('resolves to the same config from its own directory, wherever that is read', async () => {
    const config = await configOf();
    const { dir: runDir } = await carryOut(config, { ...stopAfter(1) });
    const [again] = await resolveConfigs(join(runDir, 'config.yaml'), { schemas: host.kernel });
    expect(again!.resolved).toEqual(config.resolved);
  });

  it('can be stopped at a step and gone on with, without a gap or a repetition', async () => {
    const config = await configOf();
    const first = await carryOut(config, stopAfter(5));
    expect(first.record).toMatchObject({ status: 'cancelled', reason: 'It was stopped after step 5.' });
    const second = await carryOut(config, { resume: first.dir, samples: 0 });
    expect(second.record).toMatchObject({ status: 'succeeded', resumed: [{ step: 5 }], result: { steps: 16 } });
    expect(second.record.reason).toBeUndefined();
    const { steps, checkpoints } = readHistory(join(first.dir, 'events.jsonl'));
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    expect(checkpoints.map(({ step }) => step)).toEqual([3, 5, 6, 9, 12, 15, 16]);
  });

  it('refuses to go on with data that has changed', async () => {
    const config = await configOf();
    const { dir: runDir } = await carryOut(config, stopAfter(4));
    writeFileSync(join(dir, 'text.txt'), readFileSync(join(dir, 'text.txt'), 'utf8').replace('the cat', 'the rat'));
    await expect(carryOut(config, { resume: runDir })).rejects.toMatchObject({ code: 'RESUME_DATA_CHANGED', message: expect.stringContaining('is not what the run in') });
    expect(await readRunRecord(runDir)).toMatchObject({ status: 'failed', code: 'RESUME_DATA_CHANGED' });
    expect(leases()).toEqual([]);
  });

  it('says when a plugin or the engine is not the one that it began with', async () => {
    const config = await configOf();
    const { dir: runDir } = await carryOut(config, stopAfter(4));
    const path = join(runDir, 'run.json');
    const record = JSON.parse(readFileSync(path, 'utf8')) as { generations: Record<string, { hash: string }>; engine: { detail: string } };
    record.engine.detail = 'another, 64 threads';
    record.generations['inject:lora']!.hash = '0'.repeat(64);
    writeFileSync(path, JSON.stringify(record));
    const { events } = await carryOut(config, { resume: runDir, samples: 0 });
    expect(events).toContainEqual({ type: 'log', level: 'warn', message: expect.stringMatching(/^The plugin inject:lora has changed since the run began \(000000000000 is now [0-9a-f]{12}\)/) });
    expect(events).toContainEqual({ type: 'log', level: 'warn', message: expect.stringMatching(/^The run began on portable \(another, 64 threads\) and goes on with portable \(.+\), which rounds otherwise/) });
  });

  it('is recorded as failed, with the reason, where training goes wrong, and can be looked at', async () => {
    const config = await configOf({ train: { learning_rate: 3e38, save_steps: 1 } });
    const { record, error, dir: runDir } = await carryOut(config);
    expect(record).toMatchObject({ status: 'failed', code: 'LOSS_NOT_FINITE', reason: expect.stringMatching(/^After step 1 the loss is NaN/) });
    expect(error).toMatchObject({ code: 'LOSS_NOT_FINITE' });
    expect(readFileSync(join(runDir, 'report.html'), 'utf8')).toContain('After step 1 the loss is NaN');
    expect(existsSync(join(runDir, 'adapters'))).toBe(false);
    expect(leases()).toEqual([]);
  });

  it.each([
    ['inject', { inject: [{ use: 'lora', target_modules: ['q_porj'] }] }, /config\.yaml:\d+:\d+/],
    ['train', { train: { batch_tokens: 5 } }, /config\.yaml:\d+:\d+.*\n?.*batch_size and batch_tokens both say how large a step is/s],
    ['train', { train: { early_stopping_patience: 2 }, preprocess: { eval_split: 0 } }, /config\.yaml:\d+:\d+.*early_stopping_patience needs held-out data/s],
  ] as const)('points at the option of %s that a plugin refuses, and leaves no directory', async (_, options, message) => {
    await expect(carryOut(await configOf(options))).rejects.toMatchObject({ name: 'GraftError', message: expect.stringMatching(message) });
    expect(runsOf()).toEqual([]);
    expect(leases()).toEqual([]);
  });

  it('leaves no directory where it is stopped before training begins', async () => {
    const stop = new AbortController();
    const subscribers: Subscriber[] = [{ name: 'stop', receive: (event) => { if (event.type === 'stage' && event.stage === 'load' && event.state === 'done') stop.abort(); } }];
    await expect(carryOut(await configOf(), { signal: stop.signal, subscribers })).rejects.toMatchObject({ name: 'AbortError' });
    expect(runsOf()).toEqual([]);
    expect(leases()).toEqual([]);
  });

  it('leaves no directory where the model is not there', async () => {
    const config = await configOf();
    rmSync(join(dir, 'model'), { recursive: true });
    await expect(carryOut(config)).rejects.toMatchObject({ name: 'GraftError' });
    expect(runsOf()).toEqual([]);
  });

  it('goes on when a subscriber fails', async () => {
    const config = await configOf({ train: { max_steps: 2 } });
    const broken: Subscriber = { name: 'broken bar', receive: () => { throw new Error('terminal gone'); } };
    expect((await carryOut(config, { subscribers: [broken], samples: 0 })).record.status).toBe('succeeded');
    expect(warnings).toEqual(["The run's subscriber broken bar failed and is told nothing more: terminal gone"]);
  });

  it('is not begun twice in one directory', async () => {
    const config = await configOf();
    const { dir: runDir } = await carryOut(config, stopAfter(2));
    const both = await Promise.allSettled([carryOut(config, { resume: runDir, samples: 0 }), carryOut(config, { resume: runDir, samples: 0 })]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(both.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'RUN_LOCKED' } });
  });

  it('is planned without being run', async () => {
    const config = await configOf();
    const { plan, engine } = await planRun(config, { kernel: host.kernel, log, cacheDir: join(dir, 'cache'), signal: new AbortController().signal, emit: () => undefined });
    expect(engine).toMatch(/^portable \(/);
    expect(plan).toMatchObject({ totalSteps: 16, epochs: 2, trainableParameters: 2 * 4 * (32 + 32 + 32 + 16 + 48 + 32) });
    expect(runsOf()).toEqual([]);
    expect(leases()).toEqual([]);
  });
});

describe('a session', () => {
  let host: Host;
  let dir: string;
  beforeAll(async () => {
    host = await openHost({ log });
    dir = mkdtempSync(join(tmpdir(), 'graft-session-'));
  });
  afterAll(async () => {
    await host.dispose();
    rmSync(dir, { recursive: true, force: true });
  });
  const runHost = () => ({ kernel: host.kernel, log, cacheDir: join(dir, 'cache'), signal: new AbortController().signal, emit: () => undefined });

  it('grafts stacks beside each other, reads saved ones, and takes them off without a trace', async () => {
    const [config] = await resolveConfigs(writeTinyRun(dir, { inject: [{ use: 'lora', r: 2, target_modules: ['q_proj'], init_lora_weights: false }, { use: 'adapter', adapter_size: 4 }] }), { schemas: host.kernel });
    const resting = held(host);
    const session = await Session.open(config!, runHost());
    const batch = { inputIds: Int32Array.of(1, 5, 9, 20), labels: Int32Array.of(1, 5, 9, 20), offsets: Int32Array.of(0, 4), positions: Int32Array.of(0, 1, 2, 3) };
    const hidden = (stack?: string) => {
      const result = session.model.forward(batch, { stack });
      const values = Array.from(result.dataSync());
      result.dispose();
      return values;
    };
    const base = hidden();
    const a = await session.inject('a');
    expect(a.grafts.map(({ name }) => name)).toEqual(['lora', expect.any(String)]);
    expect(a.generations.map(({ plugin }) => plugin)).toEqual(['inject:lora', 'inject:adapter']);
    const ofA = hidden('a');
    expect(ofA).not.toEqual(base);
    const saved = join(dir, 'saved');
    const { saveAdapters } = await import('../../core/run/adapters.ts');
    const folders = await saveAdapters(a.grafts, saved, []);
    await a.dispose();
    expect(hidden()).toEqual(base);
    const b = await session.inject('b', { from: saved });
    expect(hidden('b')).toEqual(ofA);
    await b.dispose();
    rmSync(join(saved, folders[1]!), { recursive: true });
    await expect(session.inject('c', { from: saved })).rejects.toMatchObject({ code: 'ADAPTER_MISSING', message: `${saved} has no folder ${folders[1]} for the config's inject entry 2; it has ${folders[0]}.` });
    expect(hidden()).toEqual(base);
    await session.dispose();
    expect(held(host)).toEqual(resting);
  });

  it('says what a config lacks', async () => {
    mkdirSync(join(dir, 'lacking'));
    const path = writeTinyRun(join(dir, 'lacking'));
    writeFileSync(path, readFileSync(path, 'utf8').replace(/^preprocess:[\s\S]*?(?=^inject:)/m, '').replace(/^train:[\s\S]*/m, ''));
    const [config] = await resolveConfigs(path, { schemas: host.kernel });
    const session = await Session.open(config!, runHost());
    await expect(session.preprocess()).rejects.toMatchObject({ code: 'NO_PREPROCESS', message: 'The run tiny has no preprocess entry, so there is nothing to train on.' });
    expect(() => session.trainer()).toThrow('The run tiny has no `train:` entry.');
    await session.dispose();
  });
});
