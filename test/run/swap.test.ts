import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { resolveConfigs, type RunConfig } from '../../core/config/index.ts';
import type { Logger, RunEvent } from '../../core/contracts/index.ts';
import { openHost, type Host } from '../../core/host/open-host.ts';
import { runExperiment, type ExperimentOptions, type Outcome } from '../../core/run/experiment.ts';
import { readTensors, type NamedTensors } from '../../core/tensor/named-tensors.ts';
import { readHistory } from '../../core/run/history.ts';
import { rehearse } from '../../core/run/rehearsal.ts';
import { configFileOf, readRunRecord } from '../../core/run/run-directory.ts';
import { settleConfig } from '../../core/run/spans.ts';
import { tinyText, writeTinyRun } from '../support/tiny-run.ts';

const log: Logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined, child: () => log };
const never = new AbortController().signal;

describe('a run whose config is swapped', () => {
  let host: Host;
  let dir: string;
  let config: RunConfig;
  beforeAll(async () => void (host = await openHost({ log })));
  afterAll(() => host.dispose());
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'graft-swap-'));
    config = (await resolveConfigs(writeTinyRun(dir, { train: { save_steps: 20, eval_steps: 4 } }), { schemas: host.kernel }))[0]!;
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  /** The config with these settings laid over. */
  const changed = async (...set: readonly string[]): Promise<RunConfig> => (await resolveConfigs(join(dir, 'config.yaml'), { schemas: host.kernel, set }))[0]!;
  const carryOut = async (under: RunConfig, { stopAfter, ...options }: ExperimentOptions & { readonly stopAfter?: number } = {}): Promise<Outcome & { readonly events: readonly RunEvent[] }> => {
    const events: RunEvent[] = [];
    const stop = new AbortController();
    const receive = (event: RunEvent): void => {
      events.push(event);
      if (event.type === 'step' && event.step === stopAfter) stop.abort();
    };
    const outcome = await runExperiment(under, { kernel: host.kernel, log, cacheDir: join(dir, 'cache'), signal: stop.signal, subscribers: [{ name: 'test', receive }] }, { samples: 0, ...options });
    return { ...outcome, events };
  };
  const losses = (runDir: string): readonly number[] => readHistory(join(runDir, 'events.jsonl')).steps.map(({ loss }) => loss);
  const rates = (runDir: string): readonly number[] => readHistory(join(runDir, 'events.jsonl')).steps.map(({ learningRate }) => learningRate);

  it('goes on from its checkpoint under the new one, and keeps which steps ran under which', async () => {
    const whole = await carryOut(config);
    const first = await carryOut(config, { stopAfter: 5 });
    const slower = await changed('train.learning_rate=2.5e-3');
    const { record, events } = await carryOut(slower, { resume: first.dir, swap: 'a' });
    expect(record).toMatchObject({ status: 'succeeded', swaps: ['a'], result: { steps: 16 }, spans: [{ fromStep: 0, config: 'configs/0.yaml' }, { fromStep: 5, config: 'configs/1.yaml' }] });
    expect(record.spans![1]!.generations).toEqual(record.generations);
    expect(events).toContainEqual({ type: 'swapped', step: 5, config: 'configs/1.yaml', data: 'same-data', options: [{ option: 'train.learning_rate', from: 5e-3, to: 2.5e-3 }], plugins: [] });
    expect(rates(first.dir)).toEqual(rates(whole.dir).map((rate, i) => (i < 5 ? rate : rate / 2)));
    // The sixth step has the weights of the fifth, and its own data.
    expect(losses(first.dir).slice(0, 6)).toEqual(losses(whole.dir).slice(0, 6));
    expect(losses(first.dir)[6]).not.toBe(losses(whole.dir)[6]);
    expect(parse(readFileSync(join(first.dir, 'configs/0.yaml'), 'utf8'))).toEqual(config.resolved);
    for (const file of [join(first.dir, 'configs/1.yaml'), configFileOf(first.dir)]) expect(parse(readFileSync(file, 'utf8'))).toEqual(slower.resolved);
    expect(readFileSync(join(first.dir, 'report.html'), 'utf8')).toContain('configs/1.yaml');
  });

  it('is under the new one for good, though it is killed before its next checkpoint', async () => {
    const bigger = ['train.batch_size=8', 'train.save_steps=1', 'train.save_total_limit=9'];
    const first = await carryOut(config, { stopAfter: 5 });
    await carryOut(await changed(...bigger), { resume: first.dir, swap: 'a', stopAfter: 8 });
    const expected = losses(first.dir);
    // As the kill would have left it: no checkpoint of what came after the swap, and config.yaml not written.
    for (const step of [6, 7, 8]) rmSync(join(first.dir, 'checkpoints', `step-${step}`), { recursive: true });
    writeFileSync(configFileOf(first.dir), readFileSync(join(first.dir, 'configs/0.yaml')));
    const [settled] = await resolveConfigs(await settleConfig(first.dir), { schemas: host.kernel });
    const { record } = await carryOut(settled!, { resume: first.dir });
    const history = readHistory(join(first.dir, 'events.jsonl'));
    expect(losses(first.dir).slice(0, 8)).toEqual(expected);
    expect(history.swaps).toHaveLength(1);
    // 12 of 32 sequences were left in the epoch, and 32 in the next: batches of 8.
    expect(record.result).toMatchObject({ steps: 5 + 2 + 4, reason: 'completed' });
    expect(history.steps.slice(5).map(({ epoch }) => Number(epoch.toFixed(3)))).toEqual([0.813, 1, 1.25, 1.5, 1.75, 2]);
  });

  it('begins other data anew, and rates its checkpoints by that alone', async () => {
    const first = await carryOut(await changed('train.save_steps=4'), { stopAfter: 5 });
    writeFileSync(join(dir, 'other.txt'), tinyText(60).replaceAll('the', 'one'));
    const { record, events } = await carryOut(await changed('preprocess.0.data=' + join(dir, 'other.txt'), 'train.save_steps=4', 'train.load_best_model_at_end=true', 'train.epochs=1'), { resume: first.dir, swap: 'a' });
    expect(record).toMatchObject({ status: 'succeeded', result: { steps: 5 + 13 }, spans: [{ fromStep: 0 }, { fromStep: 5, fingerprint: record.data!.fingerprint }] });
    expect(events.find(({ type }) => type === 'swapped')).toMatchObject({ data: 'other-data' });
    const { steps, checkpoints } = readHistory(join(first.dir, 'events.jsonl'));
    expect(steps[5]).toMatchObject({ step: 6, totalSteps: 18, epoch: 1 / 13 });
    expect(checkpoints.filter(({ best }) => best).every(({ step }) => step > 5 || step === 4)).toBe(true);
    expect(checkpoints.some(({ best, step }) => best && step > 5)).toBe(true);
  });

  it('is as it was where the new one does not start, and goes on with the losses that it would have had', async () => {
    const whole = await carryOut(config);
    const first = await carryOut(config, { stopAfter: 5 });
    const before = await readRunRecord(first.dir);
    writeFileSync(join(dir, 'other.txt'), tinyText(60));
    const nowhere = await changed(`preprocess.0.data=${join(dir, 'other.txt')}`, 'inject.0.target_modules=[nowhere]');
    await expect(carryOut(nowhere, { resume: first.dir, swap: 'a' })).rejects.toThrow(/nowhere/);
    const { spans, swaps, data, plan, trainables } = await readRunRecord(first.dir);
    expect({ spans, swaps, data, plan, trainables }).toEqual({ spans: undefined, swaps: undefined, data: before.data, plan: before.plan, trainables: before.trainables });
    expect(existsSync(join(first.dir, 'configs'))).toBe(false);
    await carryOut(config, { resume: first.dir });
    expect(losses(first.dir)).toEqual(losses(whole.dir));
  });

  describe('to another strategy', () => {
    const added = (r = 4): string => `inject=[{use: lora, r: ${r}, lora_alpha: 8, target_modules: [q_proj, v_proj, o_proj], lora_dropout: 0.1}, {use: adapter, adapter_size: 4}]`;
    const tensorsAt = async (runDir: string, step: number): Promise<NamedTensors> => readTensors(join(runDir, 'checkpoints', `step-${step}`, 'trainer.safetensors'));
    let first: Outcome;
    beforeEach(async () => {
      config = await changed('inject.0.target_modules=[q_proj, v_proj]', 'train.learning_rate=1e-9', 'train.save_total_limit=1', 'train.save_steps=1');
      first = await carryOut(config, { stopAfter: 5 });
    });
    const other = (...set: readonly string[]): Promise<RunConfig> => changed(added(), 'train.learning_rate=1e-9', 'train.save_total_limit=1', 'train.save_steps=1', ...set);

    it('goes on with what both have, from the same place in the data, and begins the rest and the optimizer anew', async () => {
      const before = await tensorsAt(first.dir, 5);
      const { record, events } = await carryOut(await other(), { resume: first.dir, swap: 'a', stopAfter: 6 });
      expect(record.spans).toMatchObject([{ fromStep: 0 }, { fromStep: 5, otherTrainables: true }]);
      expect(events).toContainEqual(expect.objectContaining({ type: 'swapped', step: 5, data: 'same-data' }));
      const after = await tensorsAt(first.dir, 6);
      const weights = [...before.keys()].filter((name) => /lora_[AB]\.weight$/.test(name));
      expect(weights).toHaveLength(2 * 2 * 2);
      // At this learning rate a step moves nothing by more than its rounding.
      for (const name of weights) after.get(name)!.values.forEach((value, i) => expect(value).toBeCloseTo(before.get(name)!.values[i]!, 7));
      expect([...after.keys()].some((name) => name.includes('o_proj'))).toBe(true);
      expect([...after.keys()].some((name) => /^1\.adapter\./.test(name))).toBe(true);
      // AdamW's first step: m = (1 - b1) g, v = (1 - b2) g^2 where it has begun anew.
      const [m, v] = ['exp_avg', 'exp_avg_sq'].map((kind) => [...after].filter(([name]) => name.endsWith(`.${kind}`)).flatMap(([, { values }]) => [...values]));
      m!.forEach((each, i) => expect(v![i]!).toBeCloseTo(0.001 * (each / 0.1) ** 2, 9));
      // What was trained before is still there, though one checkpoint is kept.
      expect(existsSync(join(first.dir, 'checkpoints/step-5/checkpoint.json'))).toBe(true);
    });

    it('is the same run however often it is killed before its next checkpoint', async () => {
      const once = await carryOut(await other('train.save_steps=20'), { resume: first.dir, swap: 'a', stopAfter: 7 });
      const expected = losses(once.dir);
      for (const step of [6, 7]) rmSync(join(first.dir, 'checkpoints', `step-${step}`), { recursive: true, force: true });
      const [settled] = await resolveConfigs(await settleConfig(first.dir), { schemas: host.kernel });
      const { record } = await carryOut(settled!, { resume: first.dir });
      expect(record).toMatchObject({ status: 'succeeded', adapters: ['adapters/0-lora', 'adapters/1-adapter'] });
      expect(losses(first.dir).slice(0, 7)).toEqual(expected);
    });

    it('does not go back to a checkpoint of before, which it could not read', async () => {
      const { record, events } = await carryOut(await other('train.load_best_model_at_end=true', 'train.learning_rate=1e-2'), { resume: first.dir, swap: 'a' });
      expect(record.status).toBe('succeeded');
      expect(events.filter((event) => event.type === 'checkpoint' && event.best).every((event) => (event as { step: number }).step > 5)).toBe(true);
    });

    it('is told beforehand what goes on', async () => {
      const notes = (under: RunConfig): Promise<readonly string[]> => readRunRecord(first.dir).then((record) => rehearse(config.resolved, under, record, { kernel: host.kernel, log, cacheDir: join(dir, 'cache'), signal: never, emit: () => undefined }));
      expect(await notes(await other())).toEqual([expect.stringMatching(/^The strategy changes: of what it trains 8 tensors go on with what they have learned, \d+ begin anew and 0 are left behind; the optimizer begins anew\./) as string]);
      expect(await notes(await changed(added(8)))).toEqual([expect.stringMatching(/ 0 tensors go on .* and 8 are left behind/) as string]);
      expect(await notes(await changed('inject.0.target_modules=[q_proj, v_proj]'))).toEqual([]);
    });
  });

  describe('is refused before it is stopped', () => {
    let runDir: string;
    const refusal = async (under: RunConfig): Promise<unknown> =>
      rehearse(config.resolved, under, await readRunRecord(runDir), { kernel: host.kernel, log, cacheDir: join(dir, 'cache'), signal: never, emit: () => undefined }).then(
        () => 'none',
        (error: Error & { readonly code: string }) => `${error.code}: ${error.message}`,
      );
    beforeEach(async () => void (runDir = (await carryOut(config, { stopAfter: 3 })).dir));

    it('where no checkpoint can go on with the new config', async () => {
      expect(await refusal(await changed('load.model=/elsewhere'))).toMatch(/^SWAP_BASE: .* its load\.model is ".*\/model", and would be "\/elsewhere"\.$/);
      const resolved = { ...config.resolved, train: { use: 'dpo' } };
      expect(await refusal({ ...config, resolved })).toBe("SWAP_TRAINER: The run's checkpoints are the train plugin sft's, and dpo can't read them.");
    });

    it('where the new config does not start', async () => {
      expect(await refusal(await changed('preprocess.0.data=./nowhere.txt'))).toMatch(/nowhere\.txt/);
      expect(await refusal(await changed('train.batch_tokens=9'))).toMatch(/^OPTIONS_CONFLICT: .*batch_size and batch_tokens/s);
    });

    it('where there is nothing to swap; and not where there is', async () => {
      expect(await refusal(config)).toMatch(/^SWAP_NOTHING: /);
      expect(await refusal(await changed('inject.0.lora_alpha=16', 'inject.0.lora_dropout=0', 'train.epochs=3'))).toBe('none');
      writeFileSync(join(dir, 'text.txt'), tinyText(44));
      expect(await refusal(config)).toBe('none');
      const record = await readRunRecord(runDir);
      writeFileSync(join(runDir, 'run.json'), JSON.stringify({ ...record, generations: { ...record.generations, 'train:sft': { version: '0', hash: 'before' } } }));
      writeFileSync(join(dir, 'text.txt'), tinyText(40));
      expect(await refusal(config)).toBe('none');
    });
  });
});
