import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { resolveConfigs, type RunConfig } from '../../core/config/index.ts';
import type { Logger, RunEvent } from '../../core/contracts/index.ts';
import { openHost, type Host } from '../../core/host/open-host.ts';
import { runExperiment, type ExperimentOptions, type Outcome } from '../../core/run/experiment.ts';
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
    const wider = await changed(`preprocess.0.data=${join(dir, 'other.txt')}`, 'inject.0.r=8');
    await expect(carryOut(wider, { resume: first.dir, swap: 'a' })).rejects.toMatchObject({ code: expect.stringMatching(/^ADAPTER_/) as string });
    const { spans, swaps, data, plan, trainables } = await readRunRecord(first.dir);
    expect({ spans, swaps, data, plan, trainables }).toEqual({ spans: undefined, swaps: undefined, data: before.data, plan: before.plan, trainables: before.trainables });
    expect(existsSync(join(first.dir, 'configs'))).toBe(false);
    await carryOut(config, { resume: first.dir });
    expect(losses(first.dir)).toEqual(losses(whole.dir));
  });

  describe('is refused before it is stopped', () => {
    let runDir: string;
    const refusal = async (under: RunConfig): Promise<unknown> =>
      rehearse(config.resolved, under, await readRunRecord(runDir), { kernel: host.kernel, log, cacheDir: join(dir, 'cache'), signal: never, emit: () => undefined }).then(
        () => 'none',
        (error: Error & { readonly code: string }) => `${error.code}: ${error.message}`,
      );
    beforeEach(async () => void (runDir = (await carryOut(config, { stopAfter: 3 })).dir));

    it('where no checkpoint can go on with the new config, by name and shape', async () => {
      expect(await refusal(await changed('inject.0.r=8'))).toMatch(/^SWAP_TRAINABLES: .*model\.layers\.0\S+lora_A\S* is 4x\d+ and would be 8x\d+.* and \d+ more\.$/);
      expect(await refusal(await changed('inject=[{use: lora, r: 4, lora_alpha: 8, target_modules: [q_proj, v_proj]}]'))).toMatch(/^SWAP_TRAINABLES: .*mlp\.down_proj\S* would be gone/);
      expect(await refusal(await changed('inject=[{use: adapter}]'))).toMatch(/^SWAP_TRAINABLES: .*the grafts are 0-adapter, and were 0-lora\.$/);
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
