import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { rng, tf, type CausalLM, type Dataset, type Graft, type Packed, type RunEvent, type TrainEvent, type TrainingOptions } from 'graft';
import { CheckpointFolder, CheckpointWriter } from '../../core/run/checkpoints.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import { inject, oracleBase, ORACLES, strategyHost } from '../../test/support/strategies.ts';
import { options, plan, train } from '../../test/support/training.ts';

type Step = Extract<TrainEvent, { type: 'step' }>;

/** Sequences of one example each; everything after the first three tokens is trained on. */
function sequences(count: number, seed: number): Packed[] {
  const random = rng(seed, 'test data');
  return Array.from({ length: count }, () => {
    const length = 6 + random.integer(10);
    const inputIds = Int32Array.from({ length }, (_, i) => (i === 0 ? 1 : 3 + ((i * 7 + random.integer(4)) % 61)));
    return { inputIds, labels: inputIds.map((id, i) => (i < 3 ? -100 : id)), offsets: Int32Array.of(0, length) };
  });
}

function datasetOf(train: readonly Packed[], held: readonly Packed[] = []): Dataset {
  return { train, eval: held, info: [], stats: { examples: train.length, tokens: 0, trainedTokens: 0, truncatedExamples: 0, badRows: 0 } };
}

describe('training', () => {
  let host: OracleHost;
  let model: CausalLM;
  let dir: string;
  let graft: Graft;
  let stacks = 0;
  const dataset = datasetOf(sequences(12, 1), sequences(4, 2));

  beforeAll(async () => {
    host = await strategyHost();
    model = await (await oracleBase(host)).load();
  });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'graft-sft-'));
    return () => rmSync(dir, { recursive: true, force: true });
  });
  afterAll(() => model.dispose());

  interface Given {
    readonly data?: Dataset;
    readonly lora?: Readonly<Record<string, unknown>>;
    readonly signal?: AbortSignal;
    readonly prepare?: (graft: Graft) => Promise<void>;
    readonly onEvent?: (event: TrainEvent) => void;
    readonly resume?: boolean;
    readonly swapped?: 'same-data' | 'other-data';
    readonly emit?: (event: RunEvent) => void;
  }

  /** Trains a new LoRA to the end, and takes it off again. */
  async function run(given: Partial<TrainingOptions>, { data = dataset, lora = {}, signal, prepare, onEvent, resume = false, swapped, emit = host.call.emit }: Given = {}): Promise<TrainEvent[]> {
    const stack = `sft-${stacks++}`;
    graft = await inject(host, model, stack, 'lora', { r: 4, lora_alpha: 8, target_modules: ['q_proj', 'v_proj', 'gate_proj'], ...lora });
    const folder = new CheckpointFolder(join(dir, 'checkpoints'));
    const events: TrainEvent[] = [];
    try {
      await prepare?.(graft);
      const call = { ...host.call, config: options(given), model, dataset: data, grafts: [graft], stack, emit, signal: signal ?? host.call.signal };
      const from = resume ? await folder.latest() : undefined;
      for await (const event of train({ ...call, checkpoints: new CheckpointWriter(folder, [graft], () => 0), resume: from && { ...from, swapped } })) {
        events.push(event);
        onEvent?.(event);
      }
      return events;
    } finally {
      graft.remove();
    }
  }

  const stepsOf = (events: readonly TrainEvent[]): Step[] => events.filter((event): event is Step => event.type === 'step');
  const lossesOf = (events: readonly TrainEvent[]): number[] => stepsOf(events).map(({ loss }) => loss);

  it("has PEFT's losses: ten AdamW steps of the lora oracle", async () => {
    const oracle = JSON.parse(readFileSync(join(ORACLES, 'peft/lora/io.json'), 'utf8')) as { readonly adamw_losses: readonly number[] };
    const settings = JSON.parse(readFileSync(join(ORACLES, 'peft/lora/init/adapter_config.json'), 'utf8')) as { readonly r: number; readonly lora_alpha: number; readonly target_modules: readonly string[] };
    const batch = JSON.parse(readFileSync(join(ORACLES, 'peft/base_io.json'), 'utf8')) as { readonly input_ids: readonly number[][]; readonly labels: readonly number[][] };
    const rows = batch.input_ids.map((ids, i) => ({ inputIds: Int32Array.from(ids), labels: Int32Array.from(batch.labels[i]!), offsets: Int32Array.of(0, ids.length) }));
    const losses = lossesOf(
      await run(
        { max_steps: 10, batch_size: 2, learning_rate: 1e-2, lr_scheduler_type: 'constant', weight_decay: 0.01, save_strategy: 'no' },
        { data: datasetOf(rows), lora: { r: settings.r, lora_alpha: settings.lora_alpha, target_modules: settings.target_modules }, prepare: (lora) => lora.load(join(ORACLES, 'peft/lora/init')) },
      ),
    );
    expect(losses).toHaveLength(10);
    losses.forEach((loss, i) => expect(Math.abs(loss - oracle.adamw_losses[i]!)).toBeLessThan(1e-4));
  });

  it('gives the same losses and gradient norms however a step is divided into passes', async () => {
    const whole = stepsOf(await run({ max_steps: 6, batch_size: 6, learning_rate: 1e-2, micro_batch_tokens: 100_000 }));
    for (const micro_batch_tokens of [40, 17, 1]) {
      const divided = stepsOf(await run({ max_steps: 6, batch_size: 6, learning_rate: 1e-2, micro_batch_tokens }));
      divided.forEach((step, i) => {
        expect(step.loss).toBeCloseTo(whole[i]!.loss, 5);
        expect(step.gradNorm).toBeCloseTo(whole[i]!.gradNorm, 4);
        expect([step.tokens, step.trainedTokens]).toEqual([whole[i]!.tokens, whole[i]!.trainedTokens]);
      });
    }
  });

  it('has the same losses and gradient norms, bit for bit, when layers are computed again in the backward', async () => {
    const given = { max_steps: 4, batch_size: 4, learning_rate: 1e-2 } as const;
    const lora = { lora_dropout: 0.2, target_modules: 'all-linear' };
    const kept = stepsOf(await run(given, { lora }));
    const again = stepsOf(await run({ ...given, recompute: 'block' }, { lora }));
    expect(again.map(({ loss, gradNorm }) => [loss, gradNorm])).toEqual(kept.map(({ loss, gradNorm }) => [loss, gradNorm]));
  });

  it('evaluates without dropout and before the first step, and the loss falls', async () => {
    const events = await run({ epochs: 4, batch_size: 4, learning_rate: 1e-2 }, { lora: { lora_dropout: 0.5 } });
    const evaluations = events.flatMap((event) => (event.type === 'evaluation' ? [event] : []));
    expect(evaluations.map(({ step }) => step)).toEqual([0, 3, 6, 9, 12]);
    expect(evaluations.at(-1)!.loss).toBeLessThan(evaluations[0]!.loss);
    evaluations.forEach(({ loss, perplexity }) => expect(perplexity).toBeCloseTo(Math.exp(loss), 10));
    const plain = await run({ epochs: 1, batch_size: 4 }, { lora: { lora_dropout: 0 } });
    expect(plain[0]).toMatchObject({ type: 'evaluation', loss: evaluations[0]!.loss });
    expect(events.at(-1)).toEqual({ type: 'train-ended', step: 12, reason: 'completed', loss: lossesOf(events).at(-1), evalLoss: evaluations.at(-1)!.loss });
  });

  it('goes on from a checkpoint with the same losses, dropout included', async () => {
    const given = { max_steps: 8, batch_size: 5, learning_rate: 1e-2, save_steps: 3, eval_steps: 2 } as const;
    const lora = { lora_dropout: 0.2 };
    const whole = await run(given, { lora });
    rmSync(dir, { recursive: true });
    const stop = new AbortController();
    await run(given, { lora, signal: stop.signal, onEvent: (event) => { if (event.type === 'step' && event.step === 5) stop.abort(); } });
    const rest = await run(given, { lora, resume: true });
    const tail = (events: readonly TrainEvent[]) => events.flatMap((event) => (event.type === 'step' && event.step > 5 ? [[event.step, event.loss, event.gradNorm]] : event.type === 'evaluation' && event.step > 5 ? [[event.step, event.loss]] : []));
    expect(tail(rest)).toEqual(tail(whole));
    expect(stepsOf(rest)[0]!.step).toBe(6);
  });

  it('goes on under other options from the place in the data, and on other data from its beginning', async () => {
    const given = { epochs: 4, batch_size: 4, learning_rate: 1e-2, save_steps: 4, save_total_limit: 1 };
    const stop = new AbortController();
    const until = { signal: stop.signal, onEvent: (event: TrainEvent) => { if (event.type === 'step' && event.step === 4) stop.abort(); } };
    const tokensOf = (events: readonly TrainEvent[]): number[] => stepsOf(events).map(({ tokens }) => tokens);
    const whole = await run(given);
    rmSync(join(dir, 'checkpoints'), { recursive: true });
    await run(given, until);
    const slower = await run({ ...given, learning_rate: 5e-3, save_strategy: 'no', save_steps: undefined }, { resume: true, swapped: 'same-data' });
    expect(tokensOf(slower)).toEqual(tokensOf(whole).slice(4));
    expect(stepsOf(slower).map(({ learningRate }) => learningRate)).toEqual(stepsOf(whole).slice(4).map(({ learningRate }) => learningRate / 2));
    expect(lossesOf(slower)[0]).toBe(lossesOf(whole)[4]);
    expect(lossesOf(slower)[1]).not.toBe(lossesOf(whole)[5]);
    const other = datasetOf(sequences(8, 5), sequences(4, 6));
    const moved = await run({ ...given, epochs: 1 }, { data: other, resume: true, swapped: 'other-data' });
    expect(stepsOf(moved).map(({ step, totalSteps, epoch }) => [step, totalSteps, epoch])).toEqual([[5, 6, 0.5], [6, 6, 1]]);
    expect(tokensOf(moved).reduce((sum, tokens) => sum + tokens, 0)).toBe(other.train.reduce((sum, { inputIds }) => sum + inputIds.length, 0));
  });

  it('stops at the next step boundary when it is cancelled, with a checkpoint', async () => {
    const stop = new AbortController();
    const events = await run({ epochs: 5, batch_size: 4, save_steps: 100 }, { signal: stop.signal, onEvent: (event) => { if (event.type === 'step' && event.step === 2) stop.abort(); } });
    expect(events.slice(-2)).toMatchObject([{ type: 'checkpoint', step: 2 }, { type: 'train-ended', step: 2, reason: 'cancelled' }]);
    expect(readdirSync(join(dir, 'checkpoints'))).toEqual(['step-2']);
  });

  it('stops early once the evaluation loss has not fallen often enough', async () => {
    const events = await run({ epochs: 50, batch_size: 4, eval_steps: 2, early_stopping_patience: 3, early_stopping_threshold: 100 });
    expect(events.at(-1)).toMatchObject({ type: 'train-ended', step: 6, reason: 'early-stopping' });
  });

  it('ends with the best checkpoint where that is asked', async () => {
    const events = await run({ max_steps: 30, batch_size: 4, learning_rate: 0.3, lr_scheduler_type: 'constant', eval_steps: 3, save_steps: 3, load_best_model_at_end: true });
    const evaluations = events.flatMap((event) => (event.type === 'evaluation' && event.step > 0 ? [event] : []));
    const best = evaluations.reduce((low, each) => (each.loss < low.loss ? each : low));
    expect(best.step).toBeLessThan(30);
    expect(events.at(-1)).toMatchObject({ type: 'train-ended', step: 30, evalLoss: best.loss });
    expect(readdirSync(join(dir, 'checkpoints')).sort()).toEqual(['step-27', 'step-30', `step-${best.step}`].sort());
  });

  it('stops before a step on a loss that is not finite, and says what is known', async () => {
    const failure = run({ max_steps: 10, batch_size: 4, learning_rate: 3e38, lr_scheduler_type: 'constant', save_strategy: 'no' });
    await expect(failure).rejects.toMatchObject({
      code: 'LOSS_NOT_FINITE',
      message: expect.stringMatching(/^The loss of step \d is (NaN|Infinity); the first trainable whose gradient is not finite is 0\.lora\.\S+\. The learning rate was 3e\+38; the last losses were \d+\.\d{4}(, \d+\.\d{4})*\.$/),
      hint: expect.stringMatching(/^No checkpoint had been written\. Start a new run with a lower learning_rate/),
    });
  });

  it.each([
    ['a checkpoint', { save_steps: 1, eval_strategy: 'no' }],
    ['an evaluation', { save_steps: 1, eval_steps: 1 }],
  ] as const)('keeps no values that a step has spoilt: %s finds them', async (_, rhythm) => {
    // The rate of the first step is 0: its checkpoint is good, that of the second would not be.
    const failure = run({ max_steps: 10, batch_size: 4, learning_rate: 3e38, lr_scheduler_type: 'constant_with_warmup', warmup_steps: 1, ...rhythm });
    await expect(failure).rejects.toMatchObject({
      code: 'LOSS_NOT_FINITE',
      message: expect.stringMatching(/^After step 2 the loss is NaN; the largest value of a trainable is (\d\.\d\de\+3\d|Infinity|NaN), in 0\.lora\.\S+\. The learning rate was 3e\+38; the last losses were \d+\.\d{4}, \d+\.\d{4}\.$/),
      hint: expect.stringMatching(/^The checkpoint of step 1 is kept\./),
    });
    expect((await new CheckpointFolder(join(dir, 'checkpoints')).list()).map(({ step }) => step)).toEqual([1]);
  });

  it('does not complete with values that its last step has spoilt', async () => {
    const failure = run({ max_steps: 1, batch_size: 4, learning_rate: 3e38, lr_scheduler_type: 'constant', save_strategy: 'no', eval_strategy: 'no' });
    await expect(failure).rejects.toMatchObject({ code: 'LOSS_NOT_FINITE', message: expect.stringMatching(/^After step 1 the loss is NaN/), hint: expect.stringMatching(/^No checkpoint had been written\./) });
  });

  it('ends with the lowest loss though the threshold of early stopping counts none as lower', async () => {
    const events = await run({ max_steps: 9, batch_size: 4, learning_rate: 0.3, lr_scheduler_type: 'constant', eval_steps: 1, save_steps: 100, load_best_model_at_end: true, early_stopping_patience: 100, early_stopping_threshold: 100 });
    const losses = events.flatMap((event) => (event.type === 'evaluation' && event.step > 0 ? [event.loss] : []));
    expect(events.at(-1)).toMatchObject({ type: 'train-ended', evalLoss: Math.min(...losses) });
  });

  it('keeps as many tensors after ten steps as after two', async () => {
    const counts: number[] = [];
    await run({ max_steps: 10, batch_size: 4, micro_batch_tokens: 30, save_steps: 2, eval_steps: 2 }, { onEvent: (event) => { if (event.type === 'step') counts.push(tf.memory().numTensors); } });
    expect(counts.slice(1)).toEqual(Array<number>(9).fill(counts[1]!));
  });

  it.each([
    ['NO_TRAINED_TOKENS', {}, datasetOf([{ inputIds: Int32Array.of(1, 2, 3), labels: Int32Array.of(-100, -100, -100), offsets: Int32Array.of(0, 3) }]), 'None of the 1 training sequences has a token to train on.'],
    ['NO_EVAL_DATA', { early_stopping_patience: 1 }, datasetOf(sequences(3, 1)), 'train sft: early_stopping_patience needs held-out data, and the dataset has none.'],
    ['NO_EVAL_DATA', { load_best_model_at_end: true }, datasetOf(sequences(3, 1)), 'train sft: load_best_model_at_end needs held-out data, and the dataset has none.'],
    ['NO_EVAL_DATA', { eval_steps: 5 }, datasetOf(sequences(3, 1)), 'train sft: eval_steps needs held-out data, and the dataset has none.'],
    ['NO_EVAL_DATA', { eval_strategy: 'epoch' }, datasetOf(sequences(3, 1)), 'train sft: eval_strategy needs held-out data, and the dataset has none.'],
  ] as const)('refuses %s before it starts', async (code, given, data, message) => {
    await expect(run(given, { data })).rejects.toMatchObject({ code, message });
  });

  it('refuses pairs of completions, one of which is not to be learned', async () => {
    await expect(run({}, { data: { ...dataset, preferences: true } })).rejects.toMatchObject({ code: 'PREFERENCES_GIVEN', hint: expect.stringContaining('use: dpo') });
  });

  it('says that a warm-up is longer than the run', async () => {
    const said: unknown[] = [];
    await run({ max_steps: 2, warmup_steps: 2, eval_on_start: false, save_strategy: 'no' }, { emit: (event) => said.push(event) });
    expect(said).toEqual([{ type: 'log', level: 'warn', message: 'The warm-up is 2 steps and the run 2: the learning rate never reaches 0.0002.' }]);
  });

  it('refuses to train nothing', () => {
    const call = { config: options(), dataset, grafts: [], model, seed: 1 };
    expect(() => plan(call)).toThrow('No inject entry made anything trainable.');
  });

  it('is planned as it then happens', async () => {
    const given = { epochs: 2, batch_tokens: 40, micro_batch_tokens: 30 } as const;
    const planned = plan({ config: options(given), dataset, grafts: [await inject(host, model, 'planned', 'lora', { r: 4, target_modules: ['q_proj'] })], model, seed: host.call.seed });
    const steps = stepsOf(await run(given, { lora: { r: 4, target_modules: ['q_proj'] } }));
    expect(planned.totalSteps).toBe(steps.length);
    expect(planned.epochs).toBe(2);
    expect(planned.trainableParameters).toBe(2 * 4 * (32 + 32));
    expect(planned.totalParameters).toBe([...model.parameters.values()].reduce((sum, { size }) => sum + size, 0) + planned.trainableParameters);
    expect(planned.tokensPerEpoch * 2).toBe(steps.reduce((sum, { tokens }) => sum + tokens, 0));
    expect(planned.trainedTokensPerEpoch * 2).toBe(steps.reduce((sum, { trainedTokens }) => sum + trainedTokens, 0));
    expect(planned.maxMicroBatchTokens).toBeLessThanOrEqual(30);
    const trained = 4 * planned.trainableParameters;
    expect(planned.memory).toMatchObject({
      trainables: trained,
      gradients: 2 * trained,
      'AdamW moments': 2 * trained,
      copies: 4 * trained,
      activations: 4 * planned.maxMicroBatchTokens * 2 * (6 * 32 + 2 * 16 + 3 * 48),
      logits: 3 * 4 * planned.maxMicroBatchTokens * 64,
      'frozen weights': model.engine.memory().frozenBytes,
      'packed weights': model.engine.memory().frozenBytes + 2 * 4 * 64 * 32,
    });
    expect(planned.peakMemoryBytes).toBe(Object.values(planned.memory).reduce((sum, bytes) => sum + bytes, 0));
  });
});
