import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Job } from '../../core/contracts/index.ts';
import { DaemonClient } from '../../core/host/client.ts';
import { readHistory } from '../../core/run/history.ts';
import { readRunRecord, type RunRecord } from '../../core/run/run-directory.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

const TIMEOUT = 300_000;
const home = mkdtempSync(join(tmpdir(), 'graft-host-swap-'));
const plugin = join(home, 'plugins/preprocess-passing');
let host: TestDaemon;
let client: DaemonClient;
let config: string;

/** Passes the data on; with `fails` it does so only while it is tried out. */
function writePlugin(setup: string): void {
  writeFileSync(
    join(plugin, 'index.ts'),
    `import { definePlugin, Type } from 'graft';
export default definePlugin({ stage: 'preprocess', config: Type.Object({ fails: Type.Boolean({ default: false }) }), setup: () => { ${setup} } });\n`,
  );
}
const PASSES = "return { preprocess: async ({ input, config }) => { if (config.fails && process.argv[2] !== 'check') throw new Error('not in earnest'); return input; } };";

/** What a run of the config never comes to the end of. */
function edit(change: (settings: { train: Record<string, unknown>; preprocess: Record<string, unknown>[]; load: Record<string, unknown>; inject: Record<string, unknown>[]; plugins?: unknown }) => void, file = config): string {
  const settings = parse(readFileSync(config, 'utf8')) as Parameters<typeof change>[0];
  change(settings);
  writeFileSync(file, stringify(settings));
  return file;
}
const recordOf = (id: string): Promise<RunRecord> => readRunRecord(host.daemon().runs.directory(id)!);
const untilSwapped = async (id: string): Promise<RunRecord> => {
  const before = (await recordOf(id)).swaps?.length ?? 0;
  for (;;) {
    const record = await recordOf(id);
    if ((record.swaps?.length ?? 0) > before) return record;
    const job = (await host.daemon().queue.get(id))!;
    if (job.state === 'failed' || noteOf(job) !== undefined) throw new Error(`${job.state}: ${job.reason ?? noteOf(job)}`);
    await sleep(50);
  }
};
const noteOf = (job: Job): unknown => job.payload['note'];

let id: string;

beforeAll(async () => {
  mkdirSync(plugin, { recursive: true });
  writeFileSync(join(plugin, 'package.json'), JSON.stringify({ name: 'passing', version: '0.1.0', type: 'module', main: './index.ts', graft: { api: '^1.0.0', stage: 'preprocess', name: 'passing' } }));
  writePlugin(PASSES);
  config = writeTinyRun(home, { train: { epochs: undefined, max_steps: 100_000, save_steps: 50_000, eval_steps: 50_000, lr_scheduler_type: 'constant' }, extra: { plugins: ['./plugins'], engine: { use: 'portable', threads: 1 } } });
  edit(({ preprocess }) => void preprocess.push({ use: 'passing' }));
  host = await startDaemon();
  client = DaemonClient.find(join(host.dir, 'state'));
  id = (await client.submit({ config }))[0]!.id;
}, TIMEOUT);
afterAll(async () => {
  await host.close();
  rmSync(home, { recursive: true });
});

/** One job, from one test to the next: starting a process takes long. */
describe('a run', () => {
  it('goes on from its next step under what its config file says now and by the code of now, as one job', async () => {
    await host.untilStep(id, 5);
    const before = await recordOf(id);
    edit(({ train }) => void (train['learning_rate'] = 1e-3));
    writePlugin(`/* edited */ ${PASSES}`);
    expect(await client.swap(id, {})).toMatchObject({ job: { state: 'running', request: 'swap' }, notes: [] });
    const { spans, generations } = await untilSwapped(id);
    expect(spans).toMatchObject([{ fromStep: 0 }, { fromStep: expect.any(Number) as number, config: 'configs/1.yaml' }]);
    expect(generations['preprocess:passing']!.hash).not.toBe(before.generations['preprocess:passing']!.hash);
    const at = spans![1]!.fromStep;
    await host.untilStep(id, at + 5);
    const { steps } = readHistory(join(host.daemon().runs.directory(id)!, 'events.jsonl'));
    expect(steps.map(({ step }) => step)).toEqual(steps.map((_, i) => i + 1));
    expect(steps.map(({ learningRate }) => learningRate)).toEqual(steps.map(({ step }) => (step <= at ? 5e-3 : 1e-3)));
    expect(host.daemon().runs.events(id, 0, 100_000).filter(({ event }) => event.type === 'swapped')).toMatchObject([
      { event: { step: at, data: 'same-data', options: [{ option: 'train.learning_rate', from: 5e-3, to: 1e-3 }], plugins: [{ plugin: 'preprocess:passing' }] } },
    ]);
    expect(await host.daemon().queue.get(id)).toMatchObject({ attempts: 2, charged: 1 });
  }, TIMEOUT);

  it('is left alone where the new code is broken, or no checkpoint can go on with the new config', async () => {
    const { attempts } = (await host.daemon().queue.get(id))!;
    await expect(client.swap(id, { set: ['load.model=/elsewhere'] })).rejects.toMatchObject({ code: expect.stringMatching(/SWAP_BASE/) as string });
    writePlugin('throw new Error("no good")');
    await expect(client.swap(id, {})).rejects.toThrow(/no good/);
    writePlugin(`/* edited */ ${PASSES}`);
    const left = (await host.daemon().queue.get(id))!;
    expect(left).toMatchObject({ state: 'running', attempts, request: undefined });
    // As it was submitted, and as it was swapped; nothing of what was refused.
    expect(readdirSync(join(host.dir, 'state/submitted')).filter((name) => name.startsWith(`${String(left.payload['runId'])}.`))).toHaveLength(2);
  }, TIMEOUT);

  it('goes back where it does not start under the new config though it could be tried out, and says why', async () => {
    const [before, step] = [await recordOf(id), host.daemon().runs.standing(id)!.step];
    await client.swap(id, { config: edit(({ preprocess }) => void (preprocess[1] = { use: 'passing', fails: true }), join(home, 'other.yaml')) });
    while (noteOf((await host.daemon().queue.get(id))!) === undefined) await sleep(50);
    await host.untilStep(id, step + 50);
    const { job, attempts } = await client.get(id);
    expect(job).toMatchObject({ state: 'running', charged: 1, note: expect.stringMatching(/^Its swap has been undone, for it could not go on so: .*not in earnest/) as string });
    expect(attempts[2]!.reason).toContain('not in earnest');
    expect((await recordOf(id)).spans).toEqual(before.spans);
    expect(host.daemon().runs.events(id, 0, 100_000).some(({ event }) => event.type === 'log' && event.level === 'error' && event.message.includes('not in earnest'))).toBe(true);
  }, TIMEOUT);

  it('that is paused takes it when it is resumed, and is published once', async () => {
    await host.daemon().act('pause', id);
    await host.until(id, 'paused');
    expect(await client.swap(id, { set: ['train.max_steps=1'] })).toMatchObject({ job: { state: 'paused' } });
    await host.daemon().act('resume', id);
    await host.until(id, 'succeeded');
    expect(await recordOf(id)).toMatchObject({ swaps: [expect.any(String), expect.any(String)], result: { reason: 'completed' } });
    expect(host.daemon().runs.published()).toMatchObject([{ jobId: id }]);
    // It is still known what it stands on: its result can be served.
    expect(host.daemon().adapters.ofJob(id)).toMatchObject({ name: `ft:model:graft:tiny:${id}`, base: 'model' });
    await expect(client.swap(id, {})).rejects.toMatchObject({ code: 'JOB_STATE' });
    await host.daemon().remove(id);
    expect(readdirSync(join(host.dir, 'state/submitted'))).toEqual([]);
  }, TIMEOUT);
});

describe('a job that has never run', () => {
  it('takes any config; and the one that it was submitted with where its file is gone', async () => {
    const file = edit((settings) => {
      settings.preprocess.splice(1);
      delete settings.plugins;
    }, join(home, 'plain.yaml'));
    const [waiting] = await client.submit({ config: file, resources: { memory_mb: 1e9 } });
    const before = String(waiting!.payload['configFile']);
    const { job } = await client.swap(waiting!.id, { set: ['inject.0.r=2', 'load.model=/elsewhere'] });
    const after = String(job.payload['configFile']);
    expect(parse(readFileSync(after, 'utf8'))).toMatchObject({ name: 'tiny', inject: [{ r: 2 }], load: { model: '/elsewhere' } });
    expect(job.payload).toMatchObject({ source: { config: file, set: ['inject.0.r=2', 'load.model=/elsewhere'] } });
    expect([job.payload['swap'], existsSync(before)]).toEqual([undefined, false]);
    await expect(client.swap(waiting!.id, { set: ['inject.0.rr=2'] })).rejects.toThrow(/--set:1:1: [\s\S]*rr/);
    await expect(client.swap(waiting!.id, { set: ['engine.threads=64'] })).rejects.toMatchObject({ code: 'SWAP_CORES' });
    rmSync(file);
    const gone = await client.swap(waiting!.id, { set: ['seed=5'] });
    expect(gone).toMatchObject({ notes: [`There is no ${file} any more: it is the config as it was submitted.`], job: { payload: { source: { config: file } } } });
    expect(parse(readFileSync(String(gone.job.payload['configFile']), 'utf8'))).toMatchObject({ seed: 5, inject: [{ r: 2 }] });
    await host.daemon().act('cancel', waiting!.id);
  }, TIMEOUT);
});
