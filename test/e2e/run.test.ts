import { mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RunEvent } from '../../core/contracts/index.ts';
import { graft } from '../support/graft.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

describe('graft run', { timeout: 120_000 }, () => {
  let dir: string;
  beforeEach(() => { dir = realpathSync(mkdtempSync(join(tmpdir(), 'graft-cli-'))); });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const runs = () => readdirSync(join(dir, 'runs')).sort();

  it('tells the run in lines where it is piped, and ends with where everything is', async () => {
    writeTinyRun(dir);
    const { code, stdout, stderr } = await graft(dir, ['run', 'config.yaml']);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const [run] = runs();
    expect(stdout).toMatch(/^tiny on portable \(.*\)\n.*\n {2}runs\/tiny-.*\ndone load llama/);
    expect(stdout).toMatch(/^trains {2}1,536 of [\d,]+ parameters/m);
    expect(stdout).toMatch(/^step 16\/16 {2}epoch 2\.00 {2}loss \d\.\d{4} {2}lr \d\.\d\de-4 {2}[\d,]+ tokens\/s$/m);
    const [measured, estimated] = /^memory {4}(\d+) MiB at its highest, (\d+) MiB estimated$/m.exec(stdout)!.slice(1).map(Number) as [number, number];
    expect(Math.abs(estimated / measured - 1)).toBeLessThan(0.25);
    expect(stdout.split('\n').slice(-4)).toEqual([
      expect.stringMatching(/^succeeded 16 steps, training loss \d\.\d{4}, evaluation loss \d\.\d{4} -> \d\.\d{4}, [\d,]+ tokens\/s$/),
      expect.stringMatching(/^memory {4}\d+ MiB at its highest, \d+ MiB estimated$/),
      `saved     runs/${run}/adapters/0-lora`,
      `report    runs/${run}/report.html`,
    ]);
  });

  it('writes nothing but JSON lines to standard output with --json', async () => {
    writeTinyRun(dir, { train: { max_steps: 3 } });
    const { code, stdout } = await graft(dir, ['run', 'config.yaml', '--json', '--set', 'train.max_steps=2']);
    expect(code).toBe(0);
    const events = stdout.split('\n').map((line) => JSON.parse(line) as RunEvent);
    expect(events.flatMap((event) => (event.type === 'step' ? [event.step] : []))).toEqual([1, 2]);
    expect(events.at(-1)).toMatchObject({ type: 'run-ended', status: 'succeeded' });
  });

  it('carries out a sweep one run after another and compares them', async () => {
    writeTinyRun(dir, { train: { max_steps: 3 }, extra: { sweep: { 'train.learning_rate': [1e-3, 1e-2] } } });
    const { code, stdout } = await graft(dir, ['run', 'config.yaml', '--quiet', '--samples', '0']);
    expect(code).toBe(0);
    expect(runs()).toHaveLength(2);
    const table = stdout.slice(stdout.lastIndexOf('\n\n') + 2).split('\n');
    expect(table).toHaveLength(3);
    expect(table[0]).toMatch(/^run +status +trains +steps +train loss +eval loss +tokens\/s$/);
    expect(table.slice(1).every((row) => / succeeded {2}1,536 \(/.test(row))).toBe(true);
    expect(table.slice(1).filter((row) => row.includes('*'))).toHaveLength(1);
  });

  it('stops on Ctrl-C after the step, with a checkpoint and the command that goes on', async () => {
    writeTinyRun(dir, { train: { epochs: 50 } });
    const stopped = await graft(dir, ['run', 'config.yaml'], (line, send) => { if (line.startsWith('step 1/')) send('SIGINT'); });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain('stopping after this step, with a checkpoint; once more to stop at once');
    const [run] = runs();
    expect(stopped.stdout).toMatch(/^stopped It was stopped after step \d+\.$/m);
    expect(stopped.stdout).toContain(`\nresume    graft resume runs/${run}\n`);
    const checkpoints = readdirSync(join(dir, 'runs', run!, 'checkpoints'));
    const at = Number(/^stopped It was stopped after step (\d+)\.$/m.exec(stopped.stdout)![1]);
    expect(checkpoints).toContain(`step-${at}`);
  });

  it('ends at once on the second Ctrl-C', async () => {
    writeTinyRun(dir, { train: { epochs: 500, batch_size: 32, micro_batch_tokens: 32 } });
    let sent = 0;
    const stopped = await graft(dir, ['run', 'config.yaml'], (line, send) => {
      if (line.startsWith('step ') && sent++ === 0) [0, 20].forEach((wait) => setTimeout(() => send('SIGINT'), wait));
    });
    expect(stopped.code).toBe(130);
  });

  it('fails with the reason and without a stack where training goes wrong', async () => {
    writeTinyRun(dir, { train: { learning_rate: 3e38, save_steps: 1 } });
    const { code, stdout, stderr } = await graft(dir, ['run', 'config.yaml', '--quiet']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^failed After step 1 the loss is NaN.*\. The learning rate was 3e\+38; the last losses were \d/);
    expect(stdout).toMatch(/\nNo checkpoint had been written\. Start a new run with a lower learning_rate/);
    expect(stdout + stderr).not.toMatch(/^\s+at /m);
  });

  it.each([
    [['run'], 'error Name a config to run: graft run configs/lora.yaml\n'],
    [['run', 'absent.yaml'], /^error .*absent\.yaml/],
    [['run', 'config.yaml', '--json', '--quiet'], /option '--json' cannot be used with option '--quiet'/],
    [['run', 'config.yaml', '--samples', 'x'], /It is a whole number from 0\./],
    [['run', 'config.yaml', '--set', 'train.epohcs=1'], /epohcs/],
    [['resume', 'runs'], /^error runs is not a run directory: there is no such folder\.\n/],
  ] as const)('takes %j as a mistake: exit 2, a sentence, no stack', async (args, message) => {
    writeTinyRun(dir);
    const { code, stdout, stderr } = await graft(dir, args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    if (typeof message === 'string') expect(stderr).toBe(message);
    else expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it('is planned with the same numbers, for people and for programs', async () => {
    writeTinyRun(dir);
    const people = await graft(dir, ['plan', 'config.yaml']);
    expect(people.code).toBe(0);
    expect(people.stdout).toMatch(/^tiny on portable \(.+\)\n {2}trains {2}1,536 of [\d,]+ parameters \(\d\.\d %\)\n {2}data {4}[\d,]+ tokens an epoch, [\d,]+ of them trained on\n {2}steps {3}16 in 2 epochs, at most \d+ tokens in one pass\n {2}memory {2}about \d+ MiB at its highest: /);
    const programs = await graft(dir, ['plan', 'config.yaml', '--json']);
    expect(JSON.parse(programs.stdout)).toMatchObject({ name: 'tiny', plan: { totalSteps: 16, trainableParameters: 1536 } });
  });

  it('says while it is planned what the data warns of, and ends without a stack when it is stopped', async () => {
    writeTinyRun(dir, { preprocess: { max_length: 4096 }, extra: { sweep: { 'train.epochs': Array.from({ length: 50 }, (_, i) => i + 1) } } });
    const { code, stderr } = await graft(dir, ['plan', 'config.yaml', '--json'], (_, send) => send('SIGINT'));
    expect(stderr).toContain('warn max_length is 4096, and the model was trained on sequences of at most');
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(code).toBe(130);
  });
});
