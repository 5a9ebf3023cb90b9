import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { comparisonTable } from '../../core/cli/comparison.ts';
import type { DescribedJob } from '../../core/host/described-job.ts';
import { compareGroup } from '../../core/host/group.ts';
import { RunStore, type Standing } from '../../core/host/run-store.ts';
import { SqliteDatabase } from '../../core/host/sqlite.ts';

describe('a group of runs', () => {
  let dir: string;
  beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'graft-group-'))));
  afterEach(() => rmSync(dir, { recursive: true }));

  const job = (id: string, settings: { readonly r: number; readonly rate: number; readonly extra?: unknown } | undefined, standing: Partial<Standing> | undefined): DescribedJob => {
    const configFile = join(dir, `${id}.yaml`);
    if (settings !== undefined) {
      const { r, rate, extra } = settings;
      writeFileSync(configFile, stringify({ name: id, runs_dir: `/runs/${id}`, load: { use: 'llama', model: '/m' }, inject: [{ use: 'lora', r, target_modules: ['q_proj'] }], train: { use: 'sft', learning_rate: rate, ...(extra === undefined ? {} : { warmup: { r: extra } }) } }));
    }
    return { id, name: id, payload: { runId: id, configFile, halvings: 0 }, resources: { cpu: 1, memory_mb: 1, gpu_memory_mb: 0 }, priority: 0, max_attempts: 1, state: 'running', attempts: 1, charged: 1, dueAt: 0, createdAt: 0, standing: standing && ({ step: 3, totalSteps: 9, ...standing } as Standing) };
  };

  it('stands beside each other with the options in which the runs differ, the best first', async () => {
    const jobs = [job('d', { r: 8, rate: 2e-4 }, undefined), job('c', { r: 8, rate: 1e-4 }, { loss: 1 }), job('b', { r: 4, rate: 2e-4 }, { loss: 3, evalLoss: 2.5, tokensPerSecond: 1200 }), job('a', { r: 4, rate: 1e-4 }, { loss: 2, evalLoss: 2.75 })];
    const group = await compareGroup(jobs);
    expect(group.options).toEqual(['inject.0.r', 'train.learning_rate']);
    expect(group.runs.map(({ job: { id }, options }) => [id, options])).toEqual([
      ['b', { 'inject.0.r': 4, 'train.learning_rate': 2e-4 }],
      ['a', { 'inject.0.r': 4, 'train.learning_rate': 1e-4 }],
      ['c', { 'inject.0.r': 8, 'train.learning_rate': 1e-4 }],
      ['d', { 'inject.0.r': 8, 'train.learning_rate': 2e-4 }],
    ]);
    const text = comparisonTable(group.runs.map(({ job: { id, state, standing }, options }) => ({ name: id, state, options, ...standing, steps: undefined })), group.options);
    expect(text.split('\n').map((line) => line.replaceAll(/\s+/g, ' ').replaceAll(/\u001b\[\d+m/g, ''))).toEqual([
      'run r learning_rate status steps train loss eval loss tokens/s',
      'b 4 0.0002 running - 3.0000 2.5000 * 1,200',
      'a 4 0.0001 running - 2.0000 2.7500 -',
      'c 8 0.0001 running - 1.0000 - -',
      'd 8 0.0002 running - - - -',
    ]);
  });

  it('tells options of one name apart, and shows what only some have or nobody knows any more', async () => {
    const { options, runs } = await compareGroup([job('c', undefined, undefined), job('b', { r: 8, rate: 1, extra: 1 }, undefined), job('a', { r: 4, rate: 1 }, undefined)]);
    expect(options).toEqual(['inject.0.r', 'train.warmup.r']);
    expect(runs.map(({ options: own }) => own)).toEqual([{ 'inject.0.r': 4 }, { 'inject.0.r': 8, 'train.warmup.r': 1 }, {}]);
    expect(comparisonTable(runs.map(({ job: { id, state }, options: own }) => ({ name: id, state, options: own })), options).split('\n')[0]).toMatch(/0\.r +warmup\.r/);
  });

  it('has the pace of the newest steps of each run', () => {
    const database = new SqliteDatabase(join(dir, 'graft.db'));
    const runs = new RunStore(database);
    const step = { type: 'step', totalSteps: 4, epoch: 1, loss: 2, learningRate: 1, gradNorm: 1, trainedTokens: 1 } as const;
    runs.record('a', [{ at: 0, event: { ...step, step: 1, tokens: 100, seconds: 1 } }, { at: 0, event: { ...step, step: 2, tokens: 500, seconds: 2 } }]);
    expect(runs.standing('a')).toMatchObject({ secondsPerStep: 1.5, tokensPerSecond: 200 });
    database.close();
  });
});
