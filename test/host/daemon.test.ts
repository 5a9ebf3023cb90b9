import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DaemonClient } from '../../core/host/client.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { parseExposition, valueOf } from '../support/exposition.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

/** Enough that one at the fifth step is not done before it can be stopped. */
const STEPS = 80;
const TIMEOUT = 120_000;

const home = mkdtempSync(join(tmpdir(), 'graft-host-'));
let host: TestDaemon;
let config: string;
/** What an undisturbed run's steps lost. */
let undisturbed: readonly number[];

async function submit(options: Partial<Parameters<ReturnType<TestDaemon['daemon']>['submit']>[0]> = {}): Promise<string> {
  return (await host.daemon().submit({ config, ...options }))[0]!.id;
}

beforeAll(async () => {
  config = writeTinyRun(home, { train: { epochs: undefined, max_steps: STEPS, save_steps: 5, eval_steps: 40 } });
  host = await startDaemon();
  const id = await submit();
  expect(await host.until(id, 'succeeded')).toMatchObject({ attempts: 1 });
  undisturbed = host.losses(id);
  expect(undisturbed).toHaveLength(STEPS);
}, TIMEOUT);
afterAll(async () => {
  await host.close();
  rmSync(home, { recursive: true });
});

describe('a run in the daemon', () => {
  it('goes on from its last checkpoint when its process is killed, with the losses that it would have had', async () => {
    const id = await submit();
    await host.untilStep(id, 12);
    process.kill(host.pid(id), 'SIGKILL');
    expect(await host.until(id, 'succeeded')).toMatchObject({ attempts: 2 });
    expect(host.losses(id)).toEqual(undisturbed);
    expect(host.daemon().runs.attempts(id)).toMatchObject([{ number: 1, exitCode: undefined, signal: 'SIGKILL', reason: 'Its process was ended by SIGKILL.' }, { number: 2, exitCode: 0 }]);
    expect(host.daemon().runs.published().filter(({ jobId }) => jobId === id)).toHaveLength(1);
  }, TIMEOUT);

  it('is checkpointed when it is paused, and goes on when it is resumed', async () => {
    const id = await submit();
    await host.untilStep(id, 7);
    await host.daemon().act('pause', id);
    expect(await host.until(id, 'paused')).toMatchObject({ reason: expect.stringMatching(/^It was stopped after step \d+\.$/) as string });
    expect(host.daemon().runs.standing(id)!.step).toBeLessThan(STEPS);
    await host.daemon().act('resume', id);
    await host.until(id, 'succeeded');
    expect(host.losses(id)).toEqual(undisturbed);
  }, TIMEOUT);

  it('goes on in the next host when its host ends', async () => {
    const id = await submit();
    await host.untilStep(id, 7);
    await host.restart();
    expect(await host.until(id, 'succeeded')).toMatchObject({ attempts: 2 });
    expect(host.losses(id)).toEqual(undisturbed);
  }, TIMEOUT);

  it('ends when it is cancelled, and what it has trained stays', async () => {
    const id = await submit();
    await host.untilStep(id, 3);
    await host.daemon().act('cancel', id);
    await host.until(id, 'cancelled');
    const dir = host.daemon().runs.directory(id)!;
    expect(JSON.parse(readFileSync(join(dir, 'run.json'), 'utf8'))).toMatchObject({ status: 'cancelled' });
    expect(await host.daemon().remove(id)).toBe(true);
    expect(existsSync(dir)).toBe(true);
  }, TIMEOUT);

  it('is killed when it takes more memory than it may, and tried once more with half of the tokens', async () => {
    const id = await submit({ resources: { memory_mb: 60 } });
    const job = await host.until(id, 'failed');
    expect(job).toMatchObject({ code: 'OUT_OF_MEMORY', attempts: 2, payload: { halvings: 1 }, reason: expect.stringMatching(/^It used \d+ MiB of memory, and may use 60\. Half of the tokens in a pass did not help\.$/) as string });
  }, TIMEOUT);

  it('fails at once over what another attempt would not mend', async () => {
    const bad = join(home, 'bad.yaml');
    writeFileSync(join(home, 'empty.txt'), '');
    writeFileSync(bad, readFileSync(config, 'utf8').replace('./text.txt', './empty.txt'));
    const id = (await host.daemon().submit({ config: bad }))[0]!.id;
    const job = await host.until(id, 'failed');
    expect(job.attempts).toBe(1);
    expect(job.reason).toContain('empty.txt');
  }, TIMEOUT);

  it('is refused before it is queued where its config is wrong, with the place', async () => {
    const bad = join(home, 'wrong.yaml');
    writeFileSync(bad, readFileSync(config, 'utf8').replace('lora_alpha', 'lora_alhpa'));
    const before = (await host.daemon().queue.list()).length;
    await expect(host.daemon().submit({ config: bad })).rejects.toThrow(/wrong\.yaml:\d+:\d+[\s\S]*lora_alpha/);
    expect(await host.daemon().queue.list()).toHaveLength(before);
  });

  it('is a job for each combination of a sweep, in one group', async () => {
    const sweep = join(home, 'sweep.yaml');
    writeFileSync(sweep, `${readFileSync(config, 'utf8')}sweep:\n  inject.0.r: [2, 4]\n`);
    // More than there is, so that none of them starts.
    const jobs = await host.daemon().submit({ config: sweep, resources: { memory_mb: 1e9 } });
    expect(jobs).toHaveLength(2);
    expect(new Set(jobs.map(({ group }) => group)).size).toBe(1);
    for (const { id } of jobs) expect(await host.daemon().act('cancel', id)).toMatchObject({ state: 'cancelled', attempts: 0 });
  });
});

describe('a plugin that ends its process', () => {
  it.each([
    ['by a segmentation fault', "console.error('last words'); process.kill(process.pid, 'SIGSEGV');", { code: 'RUN_CRASHED', reason: 'Its process was ended by SIGSEGV. It wrote last: last words' }, { signal: 'SIGSEGV', lastLines: ['last words'] }],
    ['when its code is run', '', { code: 'CONFIG_INVALID', reason: expect.stringContaining('failed when its code was run: no good') as string }, { exitCode: 0 }],
    ['for want of memory', "console.error('FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory'); process.abort();", { code: 'OUT_OF_MEMORY', reason: expect.stringMatching(/^Its process ran out of memory and was ended by SIGABRT: FATAL ERROR/) as string }, { signal: 'SIGABRT' }],
  ])('%s: the reason is on the run, and nothing else notices', async (_, act, job, attempt) => {
    const dir = mkdtempSync(join(home, 'ends-'));
    mkdirSync(join(dir, 'plugins/preprocess-ends'), { recursive: true });
    writeFileSync(join(dir, 'plugins/preprocess-ends/package.json'), JSON.stringify({ name: 'ends', version: '0.1.0', type: 'module', main: './index.ts', graft: { api: '^1.0.0', stage: 'preprocess', name: 'ends' } }));
    const code = (first: string): string => `import { definePlugin, Type } from 'graft';\n${first}\nexport default definePlugin({ stage: 'preprocess', config: Type.Object({}), setup: () => ({ preprocess: async ({ input }) => { ${act} return input; } }) });\n`;
    writeFileSync(join(dir, 'plugins/preprocess-ends/index.ts'), code(''));
    const file = writeTinyRun(dir, { extra: { plugins: ['./plugins'], preprocess: [{ use: 'ends' }] } });
    // It begins when there is room for it, with the plugin as it is then.
    const blocker = await submit({ set: ['train.max_steps=100000'], resources: { cpu: 2 } });
    await host.untilStep(blocker, 1);
    const [ends] = await host.daemon().submit({ config: file, max_attempts: 1 });
    if (act === '') writeFileSync(join(dir, 'plugins/preprocess-ends/index.ts'), code("throw new Error('no good');"));
    await host.daemon().act('cancel', blocker);
    expect(await host.until(ends!.id, 'failed')).toMatchObject(job);
    expect(host.daemon().runs.attempts(ends!.id).at(-1)).toMatchObject(attempt);
  }, TIMEOUT);
});

describe('a plugin that never gives the loop back', () => {
  it('is killed after a missed heartbeat, and takes nothing with it', async () => {
    const plugins = join(home, 'plugins');
    mkdirSync(join(plugins, 'preprocess-stuck'), { recursive: true });
    writeFileSync(join(plugins, 'preprocess-stuck', 'package.json'), JSON.stringify({ name: 'stuck', version: '0.1.0', type: 'module', main: './index.ts', graft: { api: '^1.0.0', stage: 'preprocess', name: 'stuck' } }));
    writeFileSync(join(plugins, 'preprocess-stuck', 'index.ts'), "import { definePlugin, Type } from 'graft';\nexport default definePlugin({ stage: 'preprocess', config: Type.Object({}), setup: () => ({ preprocess: async () => { for (;;); } }) });\n");
    const stuck = join(home, 'stuck');
    mkdirSync(stuck);
    const file = writeTinyRun(stuck, { extra: { plugins: ['../plugins'], preprocess: [{ use: 'stuck' }] } });
    const strict = await startDaemon({ silence_seconds: 8 });
    try {
      const [job] = await strict.daemon().submit({ config: file, max_attempts: 1 });
      expect(await strict.until(job!.id, 'failed')).toMatchObject({ code: 'RUN_SILENT', reason: expect.stringContaining('It gave no sign of life for 8 s') as string });
      const [next] = await strict.daemon().submit({ config, set: ['train.max_steps=2'] });
      await strict.until(next!.id, 'succeeded');
    } finally {
      await strict.close();
    }
  }, TIMEOUT);
});

describe("the daemon's commands", () => {
  it('find it by its state folder, and need its token', async () => {
    const client = DaemonClient.find(join(host.dir, 'state'));
    const [job] = await client.submit({ config, set: ['train.max_steps=2'] });
    await host.until(job!.id, 'succeeded');
    const seen: string[] = [];
    for await (const { event } of client.events(job!.id, { follow: true })) seen.push(event.type);
    expect(seen[0]).toBe('run-started');
    expect(seen.filter((type) => type === 'step')).toHaveLength(2);
    expect(seen.at(-1)).toBe('run-ended');
    await expect(client.act('pause', job!.id)).rejects.toThrow(`tiny (${job!.id}) has succeeded: only a job that waits or runs, or that the host paused by itself, can be paused.`);
    await expect(client.get('job-000000000000')).rejects.toThrow('There is no job job-000000000000.');
    for (const path of ['/graft/v1/jobs', '/%67raft/v1/jobs', '/graft/v1/%6aobs', '//graft/v1/jobs', `/graft/v1/jobs/${job!.id}`]) {
      const { status } = await fetch(`${host.daemon().url}${path}`);
      expect([401, 404]).toContain(status);
    }
    expect((await fetch(`${host.daemon().url}/%67raft/v1/jobs`, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })).status).toBe(401);
    expect(await (await fetch(`${host.daemon().url}/ready`)).json()).toEqual({ ready: true, reason: null });
    const scraped = await fetch(`${host.daemon().url}/metrics`);
    expect(scraped.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    const metrics = parseExposition(await scraped.text());
    expect(valueOf(metrics, 'graft_jobs', { state: 'succeeded' })).toBeGreaterThan(0);
    expect(valueOf(metrics, 'graft_step_seconds_count')).toBeGreaterThan(0);
    expect(valueOf(metrics, 'graft_run_attempt_ends_total', { state: 'succeeded', reason: 'NONE' })).toBeGreaterThan(0);
    expect(valueOf(metrics, 'graft_events_written_total')).toBeGreaterThan(2);
  }, TIMEOUT);
});
